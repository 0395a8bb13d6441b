"""Files of problems, and journals of solutions that a later run can go on from.

Both are JSON lines. A problem file is only read; a journal is only ever appended to, one finished
solution a line, so that whatever ends a run leaves all that was finished before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from lorid_edge.appending import append_durably, open_for_appending
from lorid_edge.errors import LoridError, UsageError
from lorid_edge.loop.solution import Settings, Solution
from lorid_edge.packs.manifest import PackManifest

MAX_FILE_BYTES = 10**9
MAX_QUESTION_BYTES = 10**6
MAX_LINE_BYTES = 4 * MAX_QUESTION_BYTES
MAX_RESULT_BYTES = 2**26

_JOURNAL_START = b'{"schema":1,'


@dataclass(frozen=True)
class FileProblem:
    """A problem of a file: its line (from 1) and, where given, its id and reference answer."""

    line: int
    question: str
    id: str | int | None = None
    reference: str | None = None

    def complete(self, solution: Solution) -> Solution:
        """The solution with this problem's id and line, and whether it equals the reference."""
        from lorid_edge.answers import reference_answer, same_answer

        correct = None
        if self.reference is not None:
            correct = solution.answer is not None and same_answer(
                solution.answer, reference_answer(self.reference)
            )
        return solution.model_copy(update={"id": self.id, "line": self.line, "correct": correct})


@dataclass(frozen=True)
class BrokenLine:
    """A line that holds no problem, and why."""

    line: int
    reason: str


def check_question(question: str) -> None:
    """Raise UsageError if `question` is empty, longer than 1 MB, or not proper Unicode."""
    if not question.strip():
        raise UsageError("The question is empty. Give a problem in words, such as 'What is 7*8?'.")
    try:
        size_bytes = len(question.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The question is not valid UTF-8 (character {error.start}). Save it as UTF-8 text."
        ) from error
    if size_bytes > MAX_QUESTION_BYTES:
        raise UsageError(
            f"The question has {size_bytes:,} bytes; at most {MAX_QUESTION_BYTES:,} are read. "
            "Give one problem at a time."
        )


def read_problems(path: Path) -> Iterator[FileProblem | BrokenLine]:
    """Read a file of JSON lines with `question` and, optionally, `id` and `answer`.

    GSM8K's own files, whose `answer` is a rationale that ends in "#### 18", are such files. Blank
    lines are passed over. Raises UsageError, before the first line, if the file cannot be read.
    """
    try:
        if not path.is_file():
            found = "is not a regular file" if path.exists() else "does not exist"
            raise UsageError(f"{path} {found}; --file takes JSON lines, each with a question.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes; split it.")
        with path.open("rb") as file:
            for line, content in enumerate(_lines(file), start=1):
                if content is None:
                    yield BrokenLine(line, f"longer than {MAX_LINE_BYTES:,} bytes")
                elif content.strip():
                    yield _parse(line, content)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error


def _lines(file: Iterable[bytes]) -> Iterator[bytes | None]:
    """The lines without a byte order mark; None for one that is too long."""
    for position, content in enumerate(file):
        if len(content) > MAX_LINE_BYTES:
            yield None
        else:
            yield content.removeprefix(b"\xef\xbb\xbf") if position == 0 else content


def _parse(line: int, content: bytes) -> FileProblem | BrokenLine:
    try:
        record = json.loads(content.decode("utf-8"), parse_float=str)
    except UnicodeDecodeError as error:
        return BrokenLine(line, f"not valid UTF-8 (byte {error.start})")
    except (ValueError, RecursionError) as error:
        return BrokenLine(line, f"not valid JSON ({error})")
    if not isinstance(record, dict):
        return BrokenLine(line, 'not an object such as {"question": "What is 7*8?"}')
    question, reference = record.get("question"), record.get("answer")
    identity = record.get("id")
    if not isinstance(question, str):
        found = "is not a text" if "question" in record else "is missing"
        return BrokenLine(line, f'"question" {found}')
    try:
        check_question(question)
        json.dumps([identity, reference], ensure_ascii=False).encode("utf-8")
    except UsageError as error:
        return BrokenLine(line, str(error))
    except UnicodeEncodeError:
        return BrokenLine(line, '"id" or "answer" is not valid UTF-8')
    if isinstance(identity, bool) or not isinstance(identity, str | int | None):
        return BrokenLine(line, '"id" is neither a text nor a whole number')
    if isinstance(reference, bool) or not isinstance(reference, str | int | None):
        return BrokenLine(line, '"answer" is neither a text nor a number')
    return FileProblem(line, question, identity, None if reference is None else str(reference))


@dataclass(frozen=True)
class RunSettings:
    """What all solutions of one run have in common."""

    pack: str
    policy: str
    seed: int
    settings: Settings

    def difference(self, solution: Solution) -> str | None:
        """How a solution of another run differs from this one's; None if it does not."""
        for name in ("pack", "policy", "seed"):
            if getattr(solution, name) != getattr(self, name):
                return f"{name} {getattr(solution, name)}, this run has {getattr(self, name)}"
        for name, wanted in self.settings:
            if (found := getattr(solution.settings, name)) != wanted:
                return f"{name} {found}, this run has {wanted}"
        return None


def fingerprint(
    path: Path, manifest: PackManifest, run: RunSettings, sequence_tokens: int | None
) -> str:
    """32 hex digits that change with the problem file's place, the pack, or any setting."""
    parts = [
        str(path.absolute()),
        manifest.model_dump_json(by_alias=True),
        [run.pack, run.policy, run.seed],
        run.settings.model_dump_json(),
        sequence_tokens,
    ]
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


class Journal:
    """The finished solutions of a run, in a file. Make it with `open_journal`."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file
        self._finished = _read_journal(path, file)

    def find(self, problem: FileProblem) -> Solution | None:
        """The kept solution of that line, if it is of that question."""
        solution = self._finished.get(problem.line)
        return solution if solution and solution.question == problem.question else None

    def require_same_run(self, run: RunSettings, problems: Iterable[FileProblem]) -> None:
        """Raise UsageError if the journal holds results of other settings or questions."""
        questions = {problem.line: problem.question for problem in problems}
        for line, solution in self._finished.items():
            difference = run.difference(solution)
            if difference is None and questions.get(line) != solution.question:
                difference = f"another question for line {line}"
            if difference is not None:
                raise UsageError(
                    f"{self.path} holds results of another run: {difference}. "
                    "Use another --output, or the settings and file of that run."
                )

    def append(self, solution: Solution) -> None:
        """Add a finished solution; when this returns, it survives a kill and a power loss.

        Raises LoridError if the disk does not take it; the file is then as it was before.
        """
        append_durably(self.path, self._file, solution.to_json().encode("utf-8") + b"\n")
        if solution.line is not None:
            self._finished[solution.line] = solution


@contextmanager
def open_journal(path: Path, locks: Path) -> Iterator[Journal]:
    """Open or make a journal and keep other runs away from it meanwhile.

    A last line that was cut off by a kill is removed. `locks` is the folder for the lock, so that
    none lies beside the user's file.

    Raises:
        UsageError: the file holds something else than solutions, or cannot be written.
        LoridError: another run has it open.
    """
    from filelock import FileLock, Timeout

    name = hashlib.sha256(os.fsencode(path.absolute().resolve())).hexdigest()[:32]
    with ExitStack() as stack:
        try:
            locks.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(locks / f"{name}.lock", timeout=0))
            journal = Journal(path, stack.enter_context(open_for_appending(path)))
        except Timeout:
            raise LoridError(f"Another run is writing to {path}; wait for it or stop it.") from None
        except OSError as error:
            raise UsageError(
                f"{error.filename or path} cannot be written: {error.strerror or error}."
            ) from error
        yield journal


def _read_journal(path: Path, file: FileIO) -> dict[int, Solution]:
    """The solutions by line; a torn last line is cut off, anything else refused."""
    from pydantic import ValidationError

    finished: dict[int, Solution] = {}
    whole_bytes = 0
    with path.open("rb") as reader:
        while content := reader.readline(MAX_RESULT_BYTES):
            if not content.endswith(b"\n"):
                start = content[: len(_JOURNAL_START)]
                if len(content) == MAX_RESULT_BYTES or not _JOURNAL_START.startswith(start):
                    raise _foreign(path, len(finished) + 1)
                break
            try:
                solution = Solution.model_validate_json(content)
            except ValidationError:
                raise _foreign(path, len(finished) + 1) from None
            if solution.line is None:
                raise _foreign(path, len(finished) + 1)
            finished[solution.line] = solution
            whole_bytes = reader.tell()
    file.truncate(whole_bytes)
    return finished


def _foreign(path: Path, line: int) -> UsageError:
    return UsageError(
        f"{path}, line {line}: not a result of 'solve --file'. It is left as it is; "
        "use another --output."
    )
