"""How much memory is free, what a model will need, and giving back what loading leaves behind."""

from __future__ import annotations

import ctypes
import logging
import sys
from pathlib import Path

from lorid_edge.engine.cgroups import own_cgroups

logger = logging.getLogger("lorid_edge.memory")

_MADV_DONTNEED = 4

RUNTIME_BYTES = 300_000_000
"""Python, llama.cpp's compute buffers and the tokenizer, rounded up: about 150 MB were resident
beyond base and KV with the pack standard and three contexts (`benchmarks/engine.py`)."""


def available_bytes() -> int:
    """Memory that can still be taken without swapping, in bytes; the limits of cgroups count."""
    import psutil

    free = int(psutil.virtual_memory().available)
    rooms = (_room_bytes(cgroup) for cgroup in own_cgroups())
    return min([free, *(room for room in rooms if room is not None)])


def _room_bytes(cgroup: Path) -> int | None:
    """What a cgroup's limit leaves; None where it has none."""
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        # Pages of files read some time ago, such as a pack just fetched: the kernel drops them.
        idle = int(dict(line.split() for line in lines)["inactive_file"])
    except (OSError, ValueError, KeyError):
        return None
    return max(0, limit - used + idle)


def needed_bytes(base_bytes: int, kv_bytes: int) -> int:
    """An estimate of the resident memory of a loaded base with its caches, in bytes."""
    return base_bytes + kv_bytes + RUNTIME_BYTES


def release_file_pages(path: Path) -> int:
    """Drop the resident pages of the mapped file `path`; returns the bytes of address space told.

    llama.cpp repacks most weights into buffers of its own while it loads, and the pages it read
    them from stay resident. They are clean pages of a read-only mapping, so the kernel may drop
    them; the tensors still used in place come back from the page cache at their first use.
    Linux only; elsewhere it does nothing.
    """
    if not sys.platform.startswith("linux"):
        return 0
    resolved = str(path.resolve())
    libc = ctypes.CDLL(None, use_errno=True)
    released = 0
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            fields = line.rstrip("\n").split(maxsplit=5)
            # Only read-only mappings: dropping a written private page would lose the write.
            if len(fields) < 6 or fields[5] != resolved or "w" in fields[1]:
                continue
            start, end = (int(part, 16) for part in fields[0].split("-"))
            arguments = ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED
            if libc.madvise(*arguments) == 0:
                released += end - start
            else:
                logger.debug("madvise on %s failed: errno %d", resolved, ctypes.get_errno())
    return released
