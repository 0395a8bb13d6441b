"""Text files that are written whole or not at all, whatever ends the process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any) -> None:
    """Write a file for people and programs. Raises OSError."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_json_lines(path: Path, lines: Iterable[Any]) -> None:
    """Write one value a line. Raises OSError."""
    write_text(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))


def write_text(path: Path, text: str) -> None:
    """Write a text file; its folder has to be there. Raises OSError.

    A device or a pipe is written to, and not replaced by a file.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, "utf-8", errors="backslashreplace")
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # A lone surrogate, which JSON may hold, becomes its JSON escape again.
    with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
