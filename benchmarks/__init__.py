"""Benchmarks of speed, size and memory, each with a limit from the same run: `make bench`."""
