"""How the process takes memory, on the machine and on its GPUs."""

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # names of the options in malloc.h


def keep_freed_memory() -> None:
    """Keep freed memory for the next allocation. It changes the allocator of glibc, and no other.

    glibc gives large blocks back to the system at once. The next block of this size is then made of new pages, each of which the
    system has to find and to clear. All blocks now come from one heap, which keeps what is freed. A process that does many
    different things may need more memory, because blocks of one size leave gaps that do not fit others.
    """
    if sys.platform != "linux" or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return
    libc.mallopt(MMAP_MAX, 0)  # large blocks come from a heap, and not from mmap
    libc.mallopt(ARENA_MAX, 1)  # the heaps of single threads are too small for large blocks
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)  # bytes


def take_gpu_memory_as_needed() -> None:
    """Let TensorFlow and JAX take the memory of a GPU as they need it, and not all of it at the start.

    It holds for GPUs that are first used after the call. A variable that the user has set stays as it is.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
