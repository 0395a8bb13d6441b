"""Reads the objects of data files and folders of them, and says which are broken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lorid_edge.data.documents import DocumentError, reader_of
from lorid_edge.errors import DataError
from lorid_edge.problems import BrokenLine

MAX_FILE_BYTES = 2 * 10**9
MAX_DOCUMENT_BYTES = 2**28
MAX_OBJECT_BYTES = 2**22
_START_BYTES = 1024


@dataclass(frozen=True)
class FoundObject:
    """A JSON value of a data file.

    Attributes:
        line: from 1; in a folder of files, the number of the file in alphabetical order.
        name: what the object is called where it has no id: its line, from 0, or its file's name.
    """

    line: int
    name: str
    content: Any


@dataclass(frozen=True)
class Contents:
    """All that a file or folder holds, and the SHA-256 of it (64 hex digits)."""

    objects: tuple[FoundObject, ...]
    broken: tuple[BrokenLine, ...]
    sha256: str


def read_file(path: Path) -> Contents:
    """Read a file of JSON lines, or one of the documents of `lorid_edge.data.documents`.

    Raises DataError if the file cannot be read.
    """
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise DataError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes; split it.")
        with path.open("rb") as file:
            start = file.read(_START_BYTES).decode("utf-8-sig", "replace")
            read_document = reader_of(path.suffix, start)
            if read_document is None:
                file.seek(0)
                return _read_lines(file)
        if size_bytes > MAX_DOCUMENT_BYTES:
            raise DataError(
                f"{path} is one document of more than {MAX_DOCUMENT_BYTES:,} bytes; "
                "turn it into JSON lines."
            )
        content = path.read_bytes()
        found = read_document(content.decode("utf-8-sig"))
        objects = [
            FoundObject(line, f"{number:05d}", value) for number, (line, value) in enumerate(found)
        ]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8 (byte {error.start}).") from error
    except DocumentError as error:
        raise DataError(f"{path}: {error}.") from error
    return Contents(tuple(objects), (), hashlib.sha256(content).hexdigest())


def _read_lines(file: BinaryIO) -> Contents:
    """JSON lines; blank lines are passed over."""
    digest = hashlib.sha256()
    objects: list[FoundObject] = []
    broken: list[BrokenLine] = []
    for line, content in enumerate(file, start=1):
        digest.update(content)
        if content.strip():
            _sort(_parse(line, f"{line - 1:05d}", content), objects, broken)
    return Contents(tuple(objects), tuple(broken), digest.hexdigest())


def read_folder(folder: Path) -> Contents:
    """Read every *.json file below a folder as one object, in the order of their names.

    Raises DataError if a file cannot be read.
    """
    digest = hashlib.sha256()
    objects: list[FoundObject] = []
    broken: list[BrokenLine] = []
    for number, path in enumerate(_json_files(folder), start=1):
        name = path.relative_to(folder).with_suffix("").as_posix().replace("/", "-")
        try:
            if path.stat().st_size > MAX_OBJECT_BYTES:
                broken.append(BrokenLine(number, f"{name}: longer than {MAX_OBJECT_BYTES:,} bytes"))
                continue
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
        _sort(_parse(number, name, content), objects, broken)
    return Contents(tuple(objects), tuple(broken), digest.hexdigest())


def _json_files(folder: Path) -> Iterator[Path]:
    """Sorted as people count: 2.json before 10.json."""

    def order(path: Path) -> tuple[str, int, str]:
        stem = path.stem
        number = int(stem) if stem.isdecimal() and len(stem) < 10 else -1
        return path.parent.as_posix(), number, stem

    return iter(sorted((path for path in folder.rglob("*.json") if path.is_file()), key=order))


def _sort(
    found: FoundObject | BrokenLine, objects: list[FoundObject], broken: list[BrokenLine]
) -> None:
    if isinstance(found, BrokenLine):
        broken.append(found)
    else:
        objects.append(found)


def _parse(line: int, name: str, content: bytes) -> FoundObject | BrokenLine:
    if len(content) > MAX_OBJECT_BYTES:
        return BrokenLine(line, f"longer than {MAX_OBJECT_BYTES:,} bytes")
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_float=str)
    except UnicodeDecodeError as error:
        return BrokenLine(line, f"not valid UTF-8 (byte {error.start})")
    except (ValueError, RecursionError) as error:
        return BrokenLine(line, f"not valid JSON ({error})")
    return FoundObject(line, name, value)
