"""What a distilling run has made so far, in JSON lines that survive whatever ends it.

The output holds what was made; a companion beside it, the problems that were set aside and why. A
problem that is in either is done, and is never done twice. Both files are only appended to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from lorid_edge.appending import append_durably, lock_of, only_writer, open_for_appending
from lorid_edge.errors import UsageError

MAX_LINE_BYTES = 2**24
_LINE_START = b'{"id":'

Line = dict[str, Any]


class Journal:
    """The two files of a run. Make it with `open_journal`.

    A line of the output is a record with `id` and whatever else it has. Where one problem gives
    several records, they carry its id as `problem`, and their number as `of`.
    """

    def __init__(self, path: Path, aside: Path, output: FileIO, companion: FileIO) -> None:
        self.path, self.aside_path = path, aside
        self._output, self._companion = output, companion
        self._lines = _read(path, output)
        self._cut_incomplete_problem()
        self._aside = _read(aside, companion)
        self._done = {problem_of(line) for line in self._lines}
        self._done |= {problem_of(line) for line in self._aside}

    @property
    def lines(self) -> Sequence[Line]:
        """The records kept so far, in the order in which they came."""
        return self._lines

    @property
    def set_aside_lines(self) -> Sequence[Line]:
        """The problems set aside so far."""
        return self._aside

    def is_done(self, problem: str) -> bool:
        """Whether the problem of that id needs no more work."""
        return problem in self._done

    def require_same_run(self, wanted: dict[str, Any]) -> None:
        """Raise UsageError if a line says something else than `wanted` of how it was made."""
        for line in (*self._lines, *self._aside):
            for name, value in wanted.items():
                if line.get(name) != value:
                    raise UsageError(
                        f"{self.path} holds results of another run: {name} {line.get(name)!r}, "
                        f"this run has {value!r}. Use another --output, or that run's settings."
                    )

    def require_fields(self, *names: str) -> None:
        """Raise UsageError if a kept line lacks what this kind of run gives every line."""
        for number, line in enumerate(self._lines, start=1):
            if any(name not in line for name in names):
                raise _foreign(self.path, number)

    def retry_unless(self, made: dict[str, Any]) -> None:
        """Let problems be tried again that were set aside under other circumstances than `made`."""
        self._done = {problem_of(line) for line in self._lines}
        for line in self._aside:
            if all(line.get(name) == value for name, value in made.items()):
                self._done.add(problem_of(line))

    def keep(self, lines: Sequence[Line]) -> None:
        """Add the records of one problem; when this returns, they survive a power loss.

        Raises LoridError if the disk does not take them; the file is then as it was before.
        """
        _append(self.path, self._output, lines)
        self._lines += lines
        self._done |= {problem_of(line) for line in lines}

    def set_aside(self, line: Line) -> None:
        """Note that nothing can be made of a problem, and why (`reason`). Raises as `keep`."""
        _append(self.aside_path, self._companion, [line])
        self._aside.append(line)
        self._done.add(problem_of(line))

    def _cut_incomplete_problem(self) -> None:
        """Remove the last problem's records if a kill came before the last of them."""
        if not self._lines:
            return
        last = problem_of(self._lines[-1])
        size = next(
            (n for n, line in enumerate(reversed(self._lines)) if problem_of(line) != last),
            len(self._lines),
        )
        if size < int(self._lines[-1].get("of", 1)):
            cut = self._lines[-size:]
            cut_bytes = sum(len(_encode(line)) for line in cut)
            self._output.truncate(self._output.seek(0, os.SEEK_END) - cut_bytes)
            del self._lines[-size:]


def problem_of(line: Line) -> str:
    """The id of the problem that a line is about."""
    return str(line.get("problem", line["id"]))


def companion_of(output: Path) -> Path:
    """Where the problems are noted that a run sets aside: rules.jsonl, rules.set-aside.jsonl."""
    return output.with_name(f"{output.stem}.set-aside{output.suffix}")


@contextmanager
def open_journal(path: Path, locks: Path) -> Iterator[Journal]:
    """Open or make the files of a run and keep other runs away from them meanwhile.

    A line that was cut off by a kill is removed. `locks` is the folder for the lock.

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


def _append(path: Path, file: FileIO, lines: Sequence[Line]) -> None:
    append_durably(path, file, b"".join(map(_encode, lines)))


def _read(path: Path, file: FileIO) -> list[Line]:
    """The lines; a torn last line is cut off, anything that is no record refused."""
    lines: list[Line] = []
    whole_bytes = 0
    with path.open("rb") as reader:
        while content := reader.readline(MAX_LINE_BYTES):
            if not content.endswith(b"\n"):
                start = content[: len(_LINE_START)]
                if len(content) == MAX_LINE_BYTES or not _LINE_START.startswith(start):
                    raise _foreign(path, len(lines) + 1)
                break
            try:
                line = json.loads(content)
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict) or not isinstance(line.get("id"), str):
                raise _foreign(path, len(lines) + 1)
            lines.append(line)
            whole_bytes = reader.tell()
    file.truncate(whole_bytes)
    return lines


def _foreign(path: Path, line: int) -> UsageError:
    return UsageError(
        f"{path}, line {line}: not a result of 'distill'. It is left as it is; "
        "use another --output."
    )
