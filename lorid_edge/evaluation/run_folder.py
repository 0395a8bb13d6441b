"""The folder of an evaluation run: what it is, its problems, and what came of each.

RUN/run.json          what the run is and how it was made (`RunDescription`)
RUN/problems.jsonl    all its problems, in order, written before the first is solved
RUN/solutions.jsonl   one solution a line, added as they are finished, in any order
RUN/summary.json      what it amounts to
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lorid_edge.appending import append_durably, only_writer, open_for_appending, unwritable
from lorid_edge.errors import UsageError
from lorid_edge.evaluation.run_description import RunDescription, RunIdentity
from lorid_edge.loop.solution import Solution
from lorid_edge.problems import read_solutions
from lorid_edge.whole_files import write_json, write_json_lines

RUN_NAME, PROBLEMS_NAME, SOLUTIONS_NAME = "run.json", "problems.jsonl", "solutions.jsonl"
SUMMARY_NAME = "summary.json"
LOCK_NAME = ".lock"


@dataclass(frozen=True)
class EvaluationProblem:
    """A problem of a run, with the reference answer as its data set gives it."""

    id: str
    question: str
    reference: str


@dataclass(frozen=True)
class EvaluationRun:
    """A run as it stands in its folder.

    Attributes:
        solutions: by the line of their problem in `problems`, from 1; those finished so far.
    """

    folder: Path
    description: RunDescription
    problems: tuple[EvaluationProblem, ...]
    solutions: dict[int, Solution]

    @property
    def unsolved(self) -> list[int]:
        """The lines of the problems that have no solution yet."""
        return [n for n in range(1, len(self.problems) + 1) if n not in self.solutions]


class RunWriter:
    """A run that is being made. Make it with `open_run`."""

    def __init__(self, run: EvaluationRun, solutions: FileIO) -> None:
        self.run = run
        self._file = solutions

    def append(self, solution: Solution) -> None:
        """Add a finished solution; when this returns, it survives a kill and a power loss.

        Raises:
            ValueError: its line and question are none of the run's problems.
            LoridError: the disk does not take it; the file is then as it was before.
        """
        if not _belongs(solution, self.run.problems):
            raise ValueError(f"line {solution.line} of {self.run.folder} is another problem")
        assert solution.line is not None
        content = solution.to_json().encode("utf-8") + b"\n"
        append_durably(self.run.folder / SOLUTIONS_NAME, self._file, content)
        self.run.solutions[solution.line] = solution

    def end_session(self, solved: int, seconds: float) -> None:
        """Note how many problems this session solved in how many seconds of solving.

        Raises UsageError if the disk does not take it.
        """
        description = self.run.description.session_ended(solved, seconds)
        self._write(RUN_NAME, description.to_dict())
        self.run = replace(self.run, description=description)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write what the run amounts to so far. Raises UsageError if the disk does not take it."""
        self._write(SUMMARY_NAME, summary)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        path = self.run.folder / name
        try:
            write_json(path, content)
        except OSError as error:
            raise unwritable(error, path) from error


def read_run(folder: Path) -> EvaluationRun:
    """Read a run, finished or not, and change nothing; one that is being made may be read too.

    Raises:
        UsageError: the folder holds no run, or a file of it is damaged.
    """
    description = _read_description(folder)
    problems = _read_problems(folder / PROBLEMS_NAME)
    solutions, _ = _read_solutions(folder, problems)
    return EvaluationRun(folder, description, problems, solutions)


@contextmanager
def open_run(
    folder: Path, description: RunDescription, problems: Sequence[EvaluationProblem]
) -> Iterator[RunWriter]:
    """Begin a run in a new or empty folder, or go on with the one that is there.

    The one that is there may be of a smaller sample, with the first of `problems`; their solutions
    count. A last line that was cut off by a kill is removed. Other processes are kept away
    meanwhile.

    Raises:
        UsageError: the folder holds another run, whose differences are named, or something else,
            or cannot be written.
        LoridError: another process is writing to it.
    """
    _require_run_or_nothing(folder)
    with only_writer(folder, folder / LOCK_NAME):
        try:
            run = _begin_or_continue(folder, description, tuple(problems))
        except OSError as error:
            raise unwritable(error, folder) from error
        with open_for_appending(folder / SOLUTIONS_NAME) as file:
            solutions, whole_bytes = _read_solutions(folder, run.problems)
            file.truncate(whole_bytes)
            run.solutions.update(solutions)
            yield RunWriter(run, file)


def find_run(
    folder: Path, identity: RunIdentity, problems: tuple[EvaluationProblem, ...]
) -> EvaluationRun | None:
    """The run in `folder`, as it is gone on with; None if there is none yet.

    The same run of a smaller sample counts as the beginning of this one: it is returned with this
    one's limit and problems.

    Raises:
        UsageError: it is another run than the one described; the differences are shown.
    """
    if not (folder / RUN_NAME).exists():
        return None
    run = _of_the_larger_sample(read_run(folder), identity, problems)
    differences = identity.differences(run.description.identity)
    if not differences and run.problems != problems:
        differences = ["the problems"]
    if differences:
        lines = "".join(f"\n- {difference}" for difference in differences)
        raise UsageError(
            f"{folder} holds another run:{lines}\n"
            "Use another --run, or the settings, pack and data of that run."
        )
    return run


def _of_the_larger_sample(
    run: EvaluationRun, identity: RunIdentity, problems: tuple[EvaluationProblem, ...]
) -> EvaluationRun:
    """The run with `problems` if these are its own and more of them, else as it is."""
    is_beginning = run.problems == problems[: len(run.problems)]
    if not (is_beginning and identity.extends(run.description.identity)):
        return run
    description = run.description.model_copy(update={"identity": identity})
    return replace(run, description=description, problems=problems)


def _begin_or_continue(
    folder: Path, description: RunDescription, problems: tuple[EvaluationProblem, ...]
) -> EvaluationRun:
    before = find_run(folder, description.identity, problems)
    if before is None:
        write_json_lines(folder / PROBLEMS_NAME, map(asdict, problems))
        write_json(folder / RUN_NAME, description.to_dict())  # last: from now on it is a run
        return EvaluationRun(folder, description, problems, {})
    if before.unsolved:
        description = before.description.continued_under(description.circumstances)
        write_json_lines(folder / PROBLEMS_NAME, map(asdict, problems))  # more may be wanted now
        write_json(folder / RUN_NAME, description.to_dict())
    else:
        description = before.description
    return EvaluationRun(folder, description, problems, {})


def _require_run_or_nothing(folder: Path) -> None:
    """Raise UsageError if a folder without a run holds more than a killed start could have left."""
    if not folder.is_dir() or (folder / RUN_NAME).exists():
        return
    for path in folder.iterdir():
        if path.name not in (LOCK_NAME, PROBLEMS_NAME) and not path.name.endswith(".partial"):
            raise UsageError(
                f"{folder} holds {path.name} and no {RUN_NAME}, so it is no evaluation run; "
                "give --run a new or an empty folder."
            )


def _read_description(folder: Path) -> RunDescription:
    path = folder / RUN_NAME
    try:
        return RunDescription.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{folder} holds no evaluation run: {RUN_NAME} cannot be read "
            f"({error.strerror or error})."
        ) from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise UsageError(
            f"{path}: not the description of an evaluation run, schema 1 "
            f"({f'{place}: ' if place else ''}{problem['msg']})."
        ) from None


def _read_problems(path: Path) -> tuple[EvaluationProblem, ...]:
    problems = []
    try:
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            problems.append(_parse_problem(path, number, line))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    return tuple(problems)


def _parse_problem(path: Path, number: int, line: bytes) -> EvaluationProblem:
    try:
        content = json.loads(line)
        problem = EvaluationProblem(**content)
        if all(isinstance(value, str) for value in asdict(problem).values()):
            return problem
    except (ValueError, TypeError, RecursionError):
        pass
    raise UsageError(f"{path}, line {number}: not a problem with id, question and reference.")


def _read_solutions(
    folder: Path, problems: Sequence[EvaluationProblem]
) -> tuple[dict[int, Solution], int]:
    path = folder / SOLUTIONS_NAME
    if not path.exists():
        return {}, 0
    solutions, whole_bytes = read_solutions(path, "use another --run")
    for line, solution in solutions.items():
        if not _belongs(solution, problems):
            raise UsageError(
                f"{path} holds a solution of line {line} that is no solution of that line in "
                f"{PROBLEMS_NAME}; use another --run."
            )
    return solutions, whole_bytes


def _belongs(solution: Solution, problems: Sequence[EvaluationProblem]) -> bool:
    line = solution.line
    if line is None or not 1 <= line <= len(problems):
        return False
    problem = problems[line - 1]
    return (solution.id, solution.question) == (problem.id, problem.question)
