"""Files of problems, and journals of solutions that a later run can go on from.

Both are JSON lines. A problem file is only read; a journal is only ever appended to, one finished
solution a line, so that whatever ends a run leaves all that was finished before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from lorid_edge.appending import (
    append_durably,
    lock_of,
    only_writer,
    open_for_appending,
    unwritable,
)
from lorid_edge.errors import UsageError
from lorid_edge.loop.solution import Settings, Solution
from lorid_edge.packs.manifest import PackManifest
from lorid_edge.whole_files import write_text

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


def pack_fingerprint(manifest: PackManifest, sequence_tokens: int | None) -> str:
    """32 hex digits that change with what a pack writes and with the room it has for that.

    Its description and its measured results do not count.
    """
    content = manifest.model_dump_json(by_alias=True, exclude={"description", "results"})
    parts = [content, sequence_tokens or manifest.context.sequence_tokens]
    return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()[:32]


class Journal:
    """The finished solutions of a run, in a file. Make it with `open_journal`."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file
        self._finished, whole_bytes = read_solutions(path, "use another --output")
        file.truncate(whole_bytes)

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

    def require_same_pack(self, pack: str, notes: Path) -> None:
        """Raise UsageError if the journal was begun with another pack of the same name.

        A solution does not say which version of the pack wrote it; a note in the folder `notes`
        does. Where there is none (the file is new, older than these notes, or from elsewhere), it
        is written.

        Args:
            pack: see `pack_fingerprint`.
        """
        note = lock_of(self.path, notes).with_suffix(".pack")
        try:
            if self._finished and note.is_file() and note.read_text("utf-8") != pack:
                raise UsageError(
                    f"{self.path} holds results of another run: of another version of the pack, of "
                    "another folder of its name, or of another --context-tokens. Use another "
                    "--output, or what that run used."
                )
            note.parent.mkdir(parents=True, exist_ok=True)
            write_text(note, pack)
        except OSError as error:
            raise unwritable(error, note) from error

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
    with only_writer(path, lock_of(path, locks)), open_for_appending(path) as file:
        yield Journal(path, file)


def read_solutions(path: Path, remedy: str) -> tuple[dict[int, Solution], int]:
    """The solutions of a file of results by their line, and the bytes that they take in it.

    A last line that was cut off by a kill is left out.

    Raises:
        UsageError: there is something else in the file, or it cannot be read; the message ends
            in `remedy`.
    """
    finished: dict[int, Solution] = {}
    whole_bytes = 0
    try:
        with path.open("rb") as reader:
            contents = iter(lambda: reader.readline(MAX_RESULT_BYTES), b"")
            for number, content in enumerate(contents, start=1):
                solution = _parse_result(content)
                if solution is not None and solution.line is not None:
                    finished[solution.line] = solution
                    whole_bytes = reader.tell()
                elif content.endswith(b"\n") or not _is_torn(content):
                    raise UsageError(
                        f"{path}, line {number}: not a result. It is left as it is; {remedy}."
                    )
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    return finished, whole_bytes


def _parse_result(content: bytes) -> Solution | None:
    from pydantic import ValidationError

    try:
        return Solution.model_validate_json(content) if content.endswith(b"\n") else None
    except ValidationError:
        return None


def _is_torn(content: bytes) -> bool:
    """Whether a line without an end may be the beginning of a result."""
    start = content[: len(_JOURNAL_START)]
    return len(content) < MAX_RESULT_BYTES and _JOURNAL_START.startswith(start)
