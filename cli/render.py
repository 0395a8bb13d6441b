"""Everything that is drawn on a terminal with rich: the live view, bars and spinners.

Only used where `streams.can_animate` allows it. All drawing goes to stderr and happens in the
thread that asks for it; content is handed to rich as Text, never as markup.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SQUARE
from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from lorid_edge.roles import Role

from .board import Board, Row
from .streams import printable

if TYPE_CHECKING:
    from lorid_edge.loop.events import Event
    from lorid_edge.packs.download import PullProgress

DRAWING_SECONDS = 0.15
"""Time between two drawings of the live view: about seven a second."""

SIDE_BY_SIDE_COLUMNS = 56
"""The narrowest terminal with both reasoners side by side."""

EXCERPT_LINES = 6
"""Most lines of a running sample's text."""

_TITLES = {
    Role.INTUITIVE_REASONER: "Intuitive reasoner",
    Role.KNOWLEDGE_GENERATOR: "Knowledge",
    Role.DEEP_REASONER: "Deep reasoner",
}


def _console() -> Console:
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


class LiveView:
    """Shows a problem while it is solved. Use it as a context manager and hand it every event.

    The last drawing stays on the screen.
    """

    def __init__(self, question: str, console: Console | None = None) -> None:
        self.board = Board(question)
        self._console = console or _console()
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._draw_at = 0.0

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._draw()
        self._live.__exit__(None, None, None)

    def take(self, event: Event | None) -> None:
        """Note an event, or the passing of time, and draw if it is time to."""
        if event is not None:
            self.board.take(event)
        if time.monotonic() >= self._draw_at:
            self._draw()
            # Counted from the end, so that a slow terminal is not drawn to all the time.
            self._draw_at = time.monotonic() + DRAWING_SECONDS

    def _draw(self) -> None:
        self._live.update(draw(self.board, *self._console.size), refresh=True)


def draw(board: Board, columns: int, lines: int) -> RenderableType:
    """The board for a terminal of that size; it never needs more lines than there are."""
    width = max(20, columns) - 1
    spare = max(6, lines - 1)
    question = _head(board.question, width, 2 if spare < 20 else 3)
    head = [Text(line, style="bold") for line in question]
    knowledge = _knowledge(board, width, 0 if spare < 12 else 2 if spare < 22 else 4)
    foot = [_answers(board, width), _foot(board, width)]
    spare -= len(head) + len(knowledge) + len(foot)
    middle = _reasoners(board, width, spare)
    return Group(*head, *knowledge, middle, *foot)


def _knowledge(board: Board, width: int, lines: int) -> list[Text]:
    row = board.in_focus(Role.KNOWLEDGE_GENERATOR)
    if row is None or lines == 0:
        return []
    count = len(board.rows[Role.KNOWLEDGE_GENERATOR])
    title = Text(f"Knowledge {row.index + 1} of {count}", style="yellow")
    part = _tail if row.is_running else _head
    return [title, *(Text(f"  {line}", style="dim") for line in part(row.text, width - 2, lines))]


def _reasoners(board: Board, width: int, lines: int) -> RenderableType:
    roles = (Role.INTUITIVE_REASONER, Role.DEEP_REASONER)
    if width < SIDE_BY_SIDE_COLUMNS:
        stacked = []
        for role in roles:
            title = Text(_TITLES[role], style="cyan")
            stacked += [title, *_samples(board, role, width, max(1, lines // 2 - 1))]
        return Group(*stacked)
    table = Table(box=SQUARE, padding=(0, 1), header_style="cyan", border_style="dim")
    inner = (width - 7) // 2  # three lines of the frame and four spaces
    for role in roles:
        table.add_column(_TITLES[role], width=inner, no_wrap=True, overflow="crop")
    cells = [_samples(board, role, inner, max(1, lines - 4)) for role in roles]
    table.add_row(*(Text("\n").join(cell) for cell in cells))
    return table


def _samples(board: Board, role: Role, width: int, lines: int) -> list[Text]:
    """A line for each sample in at most `lines` lines, and more of the one in focus."""
    rows = [row for _, row in sorted(board.rows[role].items())]
    if not rows:
        waits = role is Role.DEEP_REASONER and board.rows[Role.KNOWLEDGE_GENERATOR]
        return [Text("waits for knowledge" if waits else "not asked yet", style="dim")]
    focus = board.in_focus(role)
    hidden = max(0, len(rows) - lines)
    if hidden and lines > 1:
        hidden += 1
    shown = [Text(f"   ({hidden} before)", style="dim")] if hidden and lines > 1 else []
    excerpt_lines = min(EXCERPT_LINES, 1 + lines - len(rows))
    for row in rows[hidden:]:
        shown += _sample(board, row, width, excerpt_lines if row is focus else 1)
    return shown


def _sample(board: Board, row: Row, width: int, lines: int) -> list[Text]:
    """What came of a sample in one line or, while it runs, the end of its text in `lines`."""
    number, indent = f"{row.index + 1:>2} ", "   "
    if row.is_running:
        tail = _tail(row.text, width - len(indent), max(1, lines)) or ["..."]
        return [
            Text.assemble((number if position == 0 else indent, "cyan"), line)
            for position, line in enumerate(tail)
        ]
    style = "bold"
    if row.sample is None or row.sample.answer is None:
        style = "dim"
    elif board.is_agreed(row.sample.answer):
        style = "bold green"
    return [Text.assemble((number, "dim"), (_clip(row.outcome, width - len(number)), style))]


def _answers(board: Board, width: int) -> Text:
    """Who says what, and whether both reasoners agree."""
    votes = board.votes()
    if not votes:
        return Text("no answers yet", style="dim")
    parts = []
    for answer, by_role in votes[:4]:
        intuitive, deep = by_role[Role.INTUITIVE_REASONER], by_role[Role.DEEP_REASONER]
        parts.append(f"{_clip(printable(answer), 24)} (intuitive {intuitive}, deep {deep})")
    agreed = board.agreed[0] if board.agreed else None
    lead = "no agreement yet: " if agreed is None else f"both say {_clip(printable(agreed), 24)}: "
    style = "green" if agreed is not None else ""
    return Text(_clip(lead + "; ".join(parts), width), style=style)


def _foot(board: Board, width: int) -> Text:
    calculated = f", {board.calculated} calculated" if board.calculated else ""
    text = f"round {board.round}, {board.tokens} tokens{calculated}, {board.seconds:.1f} s"
    return Text(_clip(text, width), style="dim")


def _head(text: str, width: int, lines: int) -> list[str]:
    """The beginning of a text in at most `lines` lines."""
    wrapped = list(_wrapped(text[: 4 * width * lines], width))
    if len(wrapped) > lines:
        wrapped = [*wrapped[: lines - 1], _clip(f"{wrapped[lines - 1]} ...", width)]
    return wrapped


def _tail(text: str, width: int, lines: int) -> list[str]:
    """The end of a text in at most `lines` lines."""
    return list(_wrapped(text[-2 * width * lines :], width))[-lines:]


def _wrapped(text: str, width: int) -> Iterator[str]:
    """The non-empty lines, broken between words, each at most `width` cells wide."""
    for paragraph in printable(text).expandtabs(2).splitlines():
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}" if line else word
            if cell_len(joined) <= width:
                line = joined
                continue
            if line:
                yield line
            while cell_len(word) > width:
                part = set_cell_size(word, width).rstrip() or word[:1]
                yield part
                word = word[len(part) :]
            line = word
        if line:
            yield line


def _clip(text: str, width: int) -> str:
    text = " ".join(printable(text).split())
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(1, width - 3)).rstrip() + "..."


@contextmanager
def pull_bar() -> Iterator[Callable[[PullProgress], None]]:
    """A bar for a pull: the callback to hand to it."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(), refresh_per_second=5) as progress:
        task = progress.add_task("starting", total=None)

        def on_progress(now: PullProgress) -> None:
            progress.update(
                task, description=now.stage, completed=now.done_bytes, total=now.total_bytes
            )

        yield on_progress


@contextmanager
def count_bar(total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar for many problems: the callback takes how many are done, and a remark."""
    columns = (
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=_console(), refresh_per_second=2) as progress:
        task = progress.add_task("", total=total)
        yield lambda done, remark: progress.update(task, completed=done, description=remark)


@contextmanager
def work_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar for long work: the callback takes how much is done, of how much, and what."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}", markup=False),
    )
    with Progress(*columns, console=_console(), refresh_per_second=5) as progress:
        task = progress.add_task(title, total=None, what="")

        def on_progress(done: int, total: int, what: str) -> None:
            progress.update(task, completed=done, total=total, what=_clip(what, 40))

        yield on_progress


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A line that says what is being waited for, gone afterwards."""
    console = _console()
    with console.status(Text(printable(what)), refresh_per_second=5):
        yield


def print_example(title: str, prompt: str, completion: str, end: str) -> None:
    """A training example on stdout: the prompt dim, what is trained green, its end marked."""
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(Text(printable(title), style="bold"))
    console.print(
        Text.assemble(
            (printable(prompt), "dim"),
            (printable(completion), "green"),
            (printable(end), "bold black on green"),
        )
    )
    console.print()
