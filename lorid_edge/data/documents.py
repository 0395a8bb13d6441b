"""Reads the problems of data files that are one document: a JSON array, a table, or ASDiv's XML.

Every reader yields the line that a problem begins on, from 1, and the problem itself. A document
that cannot be read to its end raises DocumentError.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from xml.parsers import expat

Problems = Iterator[tuple[int, Any]]

_SPACE = re.compile(r"\s*")
_XML_PROBLEM = "Problem"


class DocumentError(ValueError):
    """What is wrong with a document, and on which of its lines."""


def reader_of(suffix: str, start: str) -> Callable[[str], Problems] | None:
    """What reads a document with this suffix that starts so; None for a file of JSON lines."""
    start = start.lstrip()
    if start.startswith("["):
        return read_json_array
    if start.startswith("<"):
        return read_xml
    return read_table if suffix.lower() == ".csv" else None


def read_json_array(text: str) -> Problems:
    """The entries of a JSON array; numbers with a point stay text, as they are written."""
    decoder = json.JSONDecoder(parse_float=str)
    position, line, counted = _after_space(text, text.index("[") + 1), 1, 0
    while not text.startswith("]", position):
        line += text.count("\n", counted, position)
        counted = position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise DocumentError(f"line {line}: not valid JSON ({error})") from None
        yield line, value
        position = _after_space(text, position)
        if text.startswith(",", position):
            position = _after_space(text, position + 1)
        elif not text.startswith("]", position):
            raise DocumentError(f"line {line}: no comma or ] after an entry of the array")


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def read_table(text: str) -> Problems:
    """The rows of comma-separated values, by the names in the first row; empty cells left out."""
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    line = 2
    try:
        for row in rows:
            yield line, {name: cell for name, cell in row.items() if name and cell}
            line = rows.line_num + 1
    except csv.Error as error:
        raise DocumentError(f"line {rows.line_num}: not comma-separated values ({error})") from None


def read_xml(text: str) -> Problems:
    """The Problem elements: their attributes and, by their names, the texts of their children.

    A document type is refused, and with it every entity that could be defined there.
    """
    found: list[tuple[int, dict[str, str]]] = []
    path: list[str] = []
    parser = expat.ParserCreate()

    def begin(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        if name == _XML_PROBLEM:
            found.append((parser.CurrentLineNumber, dict(attributes)))

    def add(characters: str) -> None:
        if _XML_PROBLEM in path[:-1]:
            problem, child = found[-1][1], path[-1]
            problem[child] = problem.get(child, "") + characters

    def refuse(*_: object) -> None:
        raise DocumentError(
            f"line {parser.CurrentLineNumber}: a DOCTYPE; expected problems alone, as in ASDiv"
        )

    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _: path.pop()
    parser.CharacterDataHandler = add
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise DocumentError(f"not valid XML ({error})") from None
    return iter(found)
