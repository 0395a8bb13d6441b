"""Fetches what a pack lacks and shows how far it is: a bar on a terminal, else a line at times."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from . import streams

if TYPE_CHECKING:
    from pathlib import Path

    from lorid_edge.packs.download import PullProgress
    from lorid_edge.packs.store import Pack, PackStore

SECONDS_BETWEEN_LINES = 10.0


def announcement(pack: Pack) -> str:
    """What is about to be fetched, how large it is, and from where."""
    from lorid_edge.packs.sources import describe

    sources = ", else ".join(describe(source) for source in pack.manifest.base.sources)
    return (
        f"The base of the pack {pack.name} is not here: {pack.manifest.base.file}, "
        f"{megabytes(pack.missing_bytes)} from {sources}."
    )


def fetch(store: PackStore, pack: Pack) -> Path:
    """Fetch and check the pack's base. Raises DownloadError."""
    if not streams.can_animate(sys.stderr):
        return store.pull(pack, _Lines())
    from . import render

    with render.pull_bar() as on_progress:
        return store.pull(pack, on_progress)


def megabytes(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / 1e6:,.0f} MB"


class _Lines:
    """A line at each new stage, and one now and then in between."""

    def __init__(self) -> None:
        self._stage = ""
        self._next_line_at = 0.0

    def __call__(self, progress: PullProgress) -> None:
        now = time.monotonic()
        if progress.stage == self._stage and now < self._next_line_at:
            return
        self._stage, self._next_line_at = progress.stage, now + SECONDS_BETWEEN_LINES
        percent = f"{100 * progress.done_bytes / progress.total_bytes:3.0f} %"
        streams.note(
            f"{progress.stage} {percent} of {megabytes(progress.total_bytes)}: {progress.detail}"
        )
