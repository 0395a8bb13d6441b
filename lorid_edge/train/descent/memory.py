"""Memory of the process: its peak, and an allocator that suits large tensors."""

from __future__ import annotations

import ctypes
import sys

import psutil
import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt


def _c_library() -> ctypes.CDLL | None:
    """glibc, where that is the C library."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def keep_freed_memory() -> None:
    """Let the C library keep large blocks that are freed, where it can be told (glibc).

    By default they go back to the system at once, and the next tensor of that size pays for every
    page anew: a quarter of the time of a wide matrix product.
    """
    library = _c_library()
    if library is not None:
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Give all that is free to the system, once: kept memory falls to pieces and grows slowly."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


def peak_memory_bytes(device: torch.device) -> int:
    """The most that was in use at once: of the GPU's memory, or resident on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
