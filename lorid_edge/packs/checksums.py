"""SHA-256 of large files, computed once per state of a file.

A stamp notes size, modification time and inode of a file whose hash was computed; as long as
they stay the same, the file is not read again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from lorid_edge.whole_files import write_json

_LOGGER = logging.getLogger("lorid_edge.packs.checksums")
_CHUNK_BYTES = 2**20


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file as 64 lower-case hex digits; `on_bytes` hears the bytes done."""
    digest = hashlib.sha256()
    done_bytes = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done_bytes += len(chunk)
            if on_bytes is not None:
                on_bytes(done_bytes)
    return digest.hexdigest()


def known_sha256_of(path: Path, stamps: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file, from its stamp in the folder `stamps` where that still holds."""
    stamp = stamps / f"{path.name}.json"
    state = _state_of(path)
    try:
        noted = json.loads(stamp.read_text("utf-8"))
        if noted["state"] == state and isinstance(noted["sha256"], str):
            return str(noted["sha256"])
    except (OSError, ValueError, TypeError, LookupError):
        pass
    sha256 = sha256_of(path, on_bytes)
    if _state_of(path) == state:
        write_stamp(path, stamps, sha256)
    return sha256


def write_stamp(path: Path, stamps: Path, sha256: str) -> None:
    """Note the SHA-256 of the file as it is now. A read-only home only costs time later."""
    try:
        stamps.mkdir(parents=True, exist_ok=True)
        write_json(stamps / f"{path.name}.json", {"state": _state_of(path), "sha256": sha256})
    except OSError as error:
        _LOGGER.debug("no stamp for %s: %s", path, error)


def remove_stamp(path: Path, stamps: Path) -> None:
    """Forget what is known about the file at `path`, as far as the disk allows it."""
    try:
        (stamps / f"{path.name}.json").unlink(missing_ok=True)
    except OSError as error:
        _LOGGER.debug("the stamp of %s stays: %s", path, error)


def _state_of(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
