"""What the commands of `lorid-edge convert` share: bases by name, progress, JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lorid_edge.errors import ModelFileError, PackError, UsageError

from . import streams

SECONDS_BETWEEN_LINES = 10.0


def base_path(name_or_path: str) -> Path:
    """The file at that path, else the base of the pack of that name or in that folder.

    Raises ModelFileError if there is neither, PackError if the pack's base is not here.
    """
    from lorid_edge.packs.manifest import MANIFEST_NAME
    from lorid_edge.packs.store import PackStore

    path = user_path(name_or_path)
    if path.is_file():
        return path
    store = PackStore()
    if name_or_path not in store.known() and not (path / MANIFEST_NAME).is_file():
        raise ModelFileError(
            f"{name_or_path}: no such file, and no pack of that name or in that folder; "
            f"known packs are {', '.join(store.known())}"
        )
    pack = store.find(name_or_path)
    if not pack.is_present:
        raise PackError(
            f"the base of the pack {pack.name} is not here; "
            f"run: lorid-edge packs pull {pack.reference}"
        )
    return pack.base_path


def user_path(text: str) -> Path:
    """The path that the user means by `text`. Raises UsageError if `~` is nobody's."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{text}: {error}") from error


def require_choice(option: str, value: str, choices: tuple[str, ...]) -> str:
    """`value` in lower case if it is one of `choices`. Raises UsageError otherwise."""
    if value.lower() not in choices:
        raise UsageError(f"{option} is {value!r}; it has to be one of {', '.join(choices)}.")
    return value.lower()


def as_json(**content: Any) -> None:
    """One line of JSON on stdout."""
    streams.json_result(json.dumps({"schema": 1, **content}, ensure_ascii=False))


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar on a terminal, else a line at times; the callback takes done, total and what."""
    if not streams.can_animate(sys.stderr):
        yield _Lines(title)
        return
    from . import render

    with render.work_bar(title) as on_progress:
        yield on_progress


class _Lines:
    """Says nothing of short work."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._next_line_at = time.monotonic() + SECONDS_BETWEEN_LINES

    def __call__(self, done: int, total: int, what: str) -> None:
        now = time.monotonic()
        if now >= self._next_line_at:
            self._next_line_at = now + SECONDS_BETWEEN_LINES
            streams.note(f"{self._title} {100 * done / max(1, total):3.0f} %: {what}")
