"""The memory that a step gives back and the next one takes again, on a processor."""

from __future__ import annotations

import ctypes
import sys

# Source: malloc.h of glibc.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
# glibc's own highest; larger blocks go back at once.
LARGEST_BYTES = 32 * 2**20
KEPT_BYTES = 512 * 2**20


def keep_freed_memory() -> None:
    """Up to `KEPT_BYTES` of it stay with the process.

    glibc gives back what is free at the end of the heap, about 10 MB in a step of a small UNet;
    the system then clears each page anew. Where there is no glibc, nothing is changed.
    """
    if sys.platform == "linux":
        malloc = ctypes.CDLL(None)
        if hasattr(malloc, "gnu_get_libc_version"):
            malloc.mallopt(MMAP_THRESHOLD, LARGEST_BYTES)
            malloc.mallopt(TRIM_THRESHOLD, KEPT_BYTES)
