"""Speed and size, each beside its physical limit measured in the same run: `make bench`."""
