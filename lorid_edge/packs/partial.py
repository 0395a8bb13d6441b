"""A file that is fetched piece by piece and survives a kill between any two of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from lorid_edge.whole_files import write_json


class PartialFile:
    """The unfinished file at `path`, opened for appending, and its journal.

    The journal notes after which part, at which byte, everything before is safely on disk. What
    the file comes from is told by its name alone. OSErrors of the disk pass through.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path.with_name(f"{path.name}.json")
        self.parts_done = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what was written is seen by the next process even after a kill.
        self._file: BinaryIO = path.open("ab", buffering=0)
        self.size_bytes = path.stat().st_size

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, chunk: bytes) -> None:
        """Write a chunk at the end, all of it."""
        remaining = memoryview(chunk)
        while remaining:
            written = self._file.write(remaining) or 0
            self.size_bytes += written
            remaining = remaining[written:]

    def truncate(self, size_bytes: int) -> None:
        """Drop everything from byte `size_bytes` on."""
        self._file.truncate(size_bytes)
        self.size_bytes = size_bytes

    def sync(self) -> None:
        """Make sure that all that was appended is on disk."""
        os.fsync(self._file.fileno())

    def rewind_to_last_part(self) -> None:
        """Go back to the end of the last part in the journal, or to the start."""
        size_bytes, self.parts_done = self._read_journal()
        self.truncate(size_bytes)

    def finish_part(self) -> None:
        """Note in the journal that one more part is complete."""
        self.sync()
        self.parts_done += 1
        write_json(self.journal, {"parts": self.parts_done, "size_bytes": self.size_bytes})

    def _read_journal(self) -> tuple[int, int]:
        try:
            note = json.loads(self.journal.read_text("utf-8"))
            size_bytes, parts = int(note["size_bytes"]), int(note["parts"])
            if 0 <= size_bytes <= self.size_bytes and parts >= 0:
                return size_bytes, parts
        except (OSError, ValueError, TypeError, LookupError):
            pass
        return 0, 0
