"""Standard input, output and error: the result goes to stdout, all else to stderr.

Text of users and models is stripped of control characters before a terminal can see it.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from lorid_edge.errors import LoridError, UsageError

_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """The text without control characters: no escape sequence of a model reaches a terminal."""
    return text.translate(_CONTROL)


def result(text: str) -> None:
    """One result for people or for `$(...)`, on stdout."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def json_result(line: str) -> None:
    """One line of JSON on stdout, in UTF-8 whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(line.encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()


def note(text: str) -> None:
    """Anything that is not the result, on stderr."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def can_animate(*streams: TextIO) -> bool:
    """Whether all of `streams` are terminals that may be given colour and redrawn."""
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return not plain and all(stream.isatty() for stream in streams)


def can_ask() -> bool:
    """Whether someone is there to answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> bool:
    """Ask on stderr; only a yes counts as one."""
    sys.stderr.write(f"{printable(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def read_question() -> str:
    """The question on standard input: UTF-8 text, at most 1 MB. Raises UsageError."""
    from lorid_edge.problems import MAX_QUESTION_BYTES

    try:
        content = sys.stdin.buffer.read(MAX_QUESTION_BYTES + 1)
    except OSError as error:
        raise LoridError(f"Standard input cannot be read: {error.strerror or error}.") from error
    if len(content) > MAX_QUESTION_BYTES:
        raise UsageError(
            f"Standard input holds more than {MAX_QUESTION_BYTES:,} bytes. Give one problem at a "
            "time, or many as JSON lines with --file."
        )
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"Standard input is not UTF-8 text (byte {error.start}). Give a problem in words."
        ) from error
