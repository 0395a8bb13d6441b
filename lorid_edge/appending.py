"""Files that are only ever appended to, so that whatever ends a run leaves all it had finished."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from lorid_edge.errors import LoridError, UsageError


@contextmanager
def only_writer(path: Path, lock: Path) -> Iterator[None]:
    """Keep other processes from writing to `path`, a file or a folder, by a lock file.

    Raises:
        LoridError: another process is writing to it.
        UsageError: the lock file cannot be made.
    """
    from filelock import FileLock, Timeout

    file_lock = FileLock(lock, timeout=0)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file_lock.acquire()
    except Timeout:
        raise LoridError(f"Another run is writing to {path}; wait for it or stop it.") from None
    except OSError as error:
        raise unwritable(error, lock) from error
    try:
        yield
    finally:
        file_lock.release()


def lock_of(path: Path, locks: Path) -> Path:
    """The lock file of `path` in the folder `locks`, where it does not lie beside user's files."""
    name = hashlib.sha256(os.fsencode(path.absolute().resolve())).hexdigest()[:32]
    return locks / f"{name}.lock"


def unwritable(error: OSError, path: Path) -> UsageError:
    """The error of the operating system as one for the user, who named `path`."""
    return UsageError(f"{error.filename or path} cannot be written: {error.strerror or error}.")


def open_for_appending(path: Path) -> FileIO:
    """Open a file, made with its folder if need be, to read and to append without a buffer.

    Raises UsageError if it is no regular file or cannot be opened.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a regular file; results are appended to a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileIO(path, "a+")
    except OSError as error:
        raise unwritable(error, path) from error


def append_durably(path: Path, file: FileIO, content: bytes) -> None:
    """Add `content`; when this returns, it survives a kill and a power loss.

    Raises LoridError if the disk does not take it; the file is then as it was before.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    try:
        if file.write(content) != len(content):
            raise OSError("the disk took only a part of a result")
        os.fsync(file.fileno())
    except OSError as error:
        file.truncate(size_bytes)
        raise LoridError(
            f"{path} cannot be written: {error.strerror or error}. What was finished before is "
            "kept; make room and run the same command again."
        ) from error
