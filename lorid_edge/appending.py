"""Files that are only ever appended to, so that whatever ends a run leaves all it had finished."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path

from lorid_edge.errors import LoridError, UsageError


def open_for_appending(path: Path) -> FileIO:
    """Open a file, made with its folder if need be, to read and to append without a buffer.

    Raises UsageError if it is no regular file, OSError if it cannot be opened.
    """
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a regular file; results are appended to a file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileIO(path, "a+")


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
