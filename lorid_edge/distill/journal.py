"""What a distilling run has made so far, in JSON lines that survive whatever ends it.

The output holds what was made; a companion beside it, the problems that were set aside and why. A
problem that is in either is done, and is never done twice. Both files are only appended to, but
for what a kill left of a line or a problem, which the first new line takes the place of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from lorid_edge.appending import append_durably, lock_of, only_writer, open_for_appending
from lorid_edge.data.record import Record
from lorid_edge.errors import UsageError

MAX_LINE_BYTES = 2**24
_LINE_START = b'{"id":'
_SHOWN_CHARACTERS = 60

Line = dict[str, Any]


class Journal:
    """The two files of a run. Make it with `open_journal`.

    A line of the output is a record with `id` and whatever else it has. Where one problem gives
    several records, they carry its id as `problem`, and their number as `of`.
    """

    def __init__(self, path: Path, aside: Path, output: FileIO, companion: FileIO) -> None:
        self.path, self.aside_path = path, aside
        self._output, self._companion = _LineFile(path, output), _LineFile(aside, companion)
        self._leave_out_incomplete_problem()
        self._done = {problem_of(line) for line in (*self.lines, *self.set_aside_lines)}

    @property
    def lines(self) -> Sequence[Line]:
        """The records kept so far, in the order in which they came."""
        return self._output.lines

    @property
    def set_aside_lines(self) -> Sequence[Line]:
        """The problems set aside so far."""
        return self._companion.lines

    def is_done(self, problem: str) -> bool:
        """Whether the problem of that id needs no more work."""
        return problem in self._done

    def require_same_run(self, wanted: dict[str, Any]) -> None:
        """Raise UsageError if a line says something else than `wanted` of how it was made.

        What a line does not say may have been the same: earlier versions said less.
        """
        for line in (*self.lines, *self.set_aside_lines):
            for name, value in wanted.items():
                if line.get(name, value) != value:
                    raise UsageError(
                        f"{self.path} holds results of another run: {name} {line[name]!r}, "
                        f"this run has {value!r}. Use another --output, or that run's settings."
                    )

    def require_same_data(self, records: Iterable[Record]) -> None:
        """Raise UsageError if a kept line was made from other data than the record of its id.

        Ids are often mere line numbers, which other data has too. A problem that was set aside as
        it was then, and has been mended since, is to be tried again.
        """
        known = {record.id: record for record in records}
        for line in self.lines:
            name = _difference(line, known.get(problem_of(line)))
            if name is not None:
                given = getattr(known[problem_of(line)], name)
                raise UsageError(
                    f"{self.path} holds results of other data: the {name} of {problem_of(line)} is "
                    f"{str(line[name])[:_SHOWN_CHARACTERS]!r} there, and in this run "
                    f"{str(given)[:_SHOWN_CHARACTERS]!r}. Use another --output, or that data."
                )
        self._companion.lines = [
            line
            for line in self.set_aside_lines
            if _difference(line, known.get(problem_of(line))) is None
        ]
        self._done = {problem_of(line) for line in (*self.lines, *self.set_aside_lines)}

    def require_fields(self, *names: str) -> None:
        """Raise UsageError if a kept line lacks what this kind of run gives every line."""
        for number, line in enumerate(self.lines, start=1):
            if any(name not in line for name in names):
                raise _foreign(self.path, number)

    def retry_unless(self, made: dict[str, Any]) -> None:
        """Let problems be tried again that were set aside under other circumstances than `made`."""
        self._done = {problem_of(line) for line in self.lines}
        for line in self.set_aside_lines:
            if all(line.get(name) == value for name, value in made.items()):
                self._done.add(problem_of(line))

    def keep(self, lines: Sequence[Line]) -> None:
        """Add the records of one problem; when this returns, they survive a power loss.

        Raises LoridError if the disk does not take them; the file is then as it was before.
        """
        self._output.append(lines)
        self._done |= {problem_of(line) for line in lines}

    def set_aside(self, line: Line) -> None:
        """Note that nothing can be made of a problem, and why (`reason`). Raises as `keep`."""
        self._companion.append([line])
        self._done.add(problem_of(line))

    def _leave_out_incomplete_problem(self) -> None:
        """Forget the last problem's records if a kill came before the last of them."""
        lines = self.lines
        if not lines:
            return
        last = problem_of(lines[-1])
        size = next(
            (n for n, line in enumerate(reversed(lines)) if problem_of(line) != last), len(lines)
        )
        if size < int(lines[-1].get("of", 1)):
            self._output.leave_out(size)


class _LineFile:
    """A file of lines. It stays as it is, whatever it holds, until something is appended."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file = path, file
        self.lines, self._ends = _read(path)
        self._is_clean = False

    def leave_out(self, count: int) -> None:
        """Forget the last so many lines."""
        del self.lines[-count:], self._ends[-count:]

    def append(self, lines: Sequence[Line]) -> None:
        if not self._is_clean:
            self._clean()
        append_durably(self._path, self._file, b"".join(map(_encode, lines)))
        self.lines += lines

    def _clean(self) -> None:
        """Cut off all behind the last whole line, and end that one."""
        size_bytes = self._ends[-1] if self._ends else 0
        self._file.truncate(size_bytes)
        if size_bytes:
            self._file.seek(size_bytes - 1)
            if self._file.read(1) != b"\n":
                append_durably(self._path, self._file, b"\n")
        self._is_clean = True


def problem_of(line: Line) -> str:
    """The id of the problem that a line is about."""
    return str(line.get("problem", line["id"]))


def companion_of(output: Path) -> Path:
    """Where the problems are noted that a run sets aside: rules.jsonl, rules.set-aside.jsonl."""
    return output.with_name(f"{output.stem}.set-aside{output.suffix}")


@contextmanager
def open_journal(path: Path, locks: Path) -> Iterator[Journal]:
    """Open or make the files of a run and keep other runs away from them meanwhile.

    A line that was cut off by a kill is left out. `locks` is the folder for the lock.

    Raises:
        UsageError: a file holds something else, or cannot be written.
        LoridError: another run has them open.
    """
    aside = companion_of(path)
    with only_writer(path, lock_of(path, locks)), ExitStack() as stack:
        stack.callback(_remove_if_empty, aside)
        files = [stack.enter_context(open_for_appending(file)) for file in (path, aside)]
        yield Journal(path, aside, *files)


def _remove_if_empty(path: Path) -> None:
    if path.is_file() and path.stat().st_size == 0:
        path.unlink()


def _encode(line: Line) -> bytes:
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _read(path: Path) -> tuple[list[Line], list[int]]:
    """The lines, and the byte that each ends before; without a torn last one.

    Raises UsageError if anything else is no record.
    """
    lines: list[Line] = []
    ends: list[int] = []
    with path.open("rb") as reader:
        while content := reader.readline(MAX_LINE_BYTES):
            try:
                line = json.loads(content)
            except (ValueError, RecursionError):
                if _is_torn(content):
                    break
                line = None
            if not isinstance(line, dict) or not isinstance(line.get("id"), str):
                raise _foreign(path, len(lines) + 1)
            lines.append(line)
            ends.append(reader.tell())
    return lines, ends


def _is_torn(content: bytes) -> bool:
    """Whether it can be the beginning of a record, which a kill left without its end."""
    start = content[: len(_LINE_START)]
    is_last = len(content) < MAX_LINE_BYTES and not content.endswith(b"\n")
    return is_last and _LINE_START.startswith(start)


def _difference(line: Line, record: Record | None) -> str | None:
    """What a line and the record that it was made from do not share; None where they agree.

    The rationale of a line with a `problem` is a model's own.
    """
    if record is None:
        return None
    names = ("question", "answer") if "problem" in line else ("question", "answer", "rationale")
    return next((n for n in names if line.get(n) not in (None, getattr(record, n))), None)


def _foreign(path: Path, line: int) -> UsageError:
    return UsageError(
        f"{path}, line {line}: not a result of 'distill'. It is left as it is; "
        "use another --output."
    )
