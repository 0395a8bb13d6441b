"""The folder of an evaluation run: what is kept, what is gone on with, and what is refused."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from lorid_edge.errors import LoridError, UsageError
from lorid_edge.evaluation.run_description import Circumstances, RunDescription
from lorid_edge.evaluation.run_folder import EvaluationProblem, open_run, read_run
from lorid_edge.loop.solution import Solution
from lorid_edge.machine import Machine, Versions

Describe = Callable[..., RunDescription]
Problems = tuple[EvaluationProblem, ...]
Solve = Callable[..., Solution]


def test_what_is_written_is_read_again(
    tmp_path: Path, describe: Describe, problems: Problems, solve: Solve
) -> None:
    folder, description = tmp_path / "new" / "run", describe()
    with open_run(folder, description, problems) as writer:
        assert read_run(folder).problems == problems  # whole before the first solution
        for line in (3, 1):
            writer.append(solve(line))
        assert writer.run.unsolved == [2, 4]
        writer.write_summary({"right": 2})
    run = read_run(folder)
    assert run.description == description
    assert run.solutions == {3: solve(3), 1: solve(1)}
    assert json.loads((folder / "summary.json").read_text("utf-8")) == {"right": 2}
    assert json.loads((folder / "run.json").read_text("utf-8"))["schema"] == 1


def test_a_torn_last_line_is_passed_over_by_readers_and_cut_by_the_next_writer(
    tmp_path: Path, describe: Describe, problems: Problems, solve: Solve
) -> None:
    with open_run(tmp_path, describe(), problems) as writer:
        writer.append(solve(1))
    path = tmp_path / "solutions.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + solve(2).to_json().encode()[:100])
    assert set(read_run(tmp_path).solutions) == {1}
    assert path.read_bytes() != whole
    with open_run(tmp_path, describe(), problems) as writer:
        assert path.read_bytes() == whole
        writer.append(solve(2))
    assert set(read_run(tmp_path).solutions) == {1, 2}


def test_going_on_is_noted_until_the_run_is_finished(
    tmp_path: Path,
    describe: Describe,
    problems: Problems,
    solve: Solve,
    circumstances: Circumstances,
) -> None:
    elsewhere = circumstances.model_copy(update={"threads": 7})
    later = describe().model_copy(update={"circumstances": elsewhere})
    with open_run(tmp_path, describe(), problems) as writer:
        writer.append(solve(1))
    with open_run(tmp_path, later, problems) as writer:
        for line in writer.run.unsolved:
            writer.append(solve(line))
    with open_run(tmp_path, later, problems) as writer:
        assert not writer.run.unsolved
    description = read_run(tmp_path).description
    assert description.circumstances == circumstances
    assert description.continued == (elsewhere,)


def test_a_run_of_another_configuration_is_refused_with_the_difference(
    tmp_path: Path, describe: Describe, problems: Problems, solve: Solve
) -> None:
    with open_run(tmp_path, describe(), problems) as writer:
        writer.append(solve(1))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    data = describe().identity.data.model_copy(update={"limit": None})
    other = describe(policy="vote", data=data)
    with pytest.raises(UsageError) as refusal, open_run(tmp_path, other, problems):
        pass
    message = str(refusal.value)
    assert "policy: vote here, adaptive there" in message
    assert "data.limit: None here, 4 there" in message
    assert "width" not in message
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with (
        pytest.raises(UsageError, match="the problems"),
        open_run(tmp_path, describe(), problems[:2]),
    ):
        pass


def test_a_larger_sample_goes_on_with_the_smaller_one(
    tmp_path: Path, describe: Describe, problems: Problems, solve: Solve
) -> None:
    def limited(limit: int | None, **changes: str) -> RunDescription:
        data = describe().identity.data.model_copy(update={"limit": limit})
        return describe(data=data, **changes)

    with open_run(tmp_path, limited(2), problems[:2]) as writer:
        for line in (1, 2):
            writer.append(solve(line))
    others = [(limited(4, policy="vote"), problems), (limited(4), problems[::-1])]
    for other, drawn in [*others, (limited(None), problems)]:
        with pytest.raises(UsageError, match="another run"), open_run(tmp_path, other, drawn):
            pass
    assert read_run(tmp_path).problems == problems[:2]

    with open_run(tmp_path, limited(4), problems) as writer:
        assert writer.run.unsolved == [3, 4]
        writer.append(solve(4))
    run = read_run(tmp_path)
    assert run.problems == problems
    assert run.description.identity == limited(4).identity
    assert len(run.description.continued) == 1
    assert set(run.solutions) == {1, 2, 4}

    with pytest.raises(UsageError, match="another run"), open_run(tmp_path, limited(2), problems):
        pass  # what was solved beyond the smaller sample would be lost from sight


def test_a_second_writer_is_kept_out(
    tmp_path: Path, describe: Describe, problems: Problems
) -> None:
    with (
        open_run(tmp_path, describe(), problems),
        pytest.raises(LoridError, match="Another run is writing"),
        open_run(tmp_path, describe(), problems),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", "mine", "no evaluation run"),
        ("solutions.jsonl", "", "no evaluation run"),
        ("run.json", "{", "not the description"),
        ("run.json", '{"schema": 2}', "schema"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, describe: Describe, problems: Problems, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(UsageError, match=message), open_run(tmp_path, describe(), problems):
        pass
    assert (tmp_path / name).read_text("utf-8") == content
    assert name == "run.json" or [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(UsageError):
        read_run(tmp_path)


def test_damaged_files_of_a_run_are_named(
    tmp_path: Path, describe: Describe, problems: Problems, solve: Solve
) -> None:
    with open_run(tmp_path, describe(), problems) as writer:
        writer.append(solve(1))
    path = tmp_path / "solutions.jsonl"
    whole = path.read_text("utf-8")
    path.write_text(whole + '{"schema":1,"question":"?"}\n', "utf-8")
    with pytest.raises(UsageError, match=r"solutions.jsonl, line 2: not a result"):
        read_run(tmp_path)
    path.write_text(whole + solve(2).model_copy(update={"line": 3}).to_json() + "\n", "utf-8")
    with pytest.raises(UsageError, match="solution of line 3"):
        read_run(tmp_path)
    (tmp_path / "problems.jsonl").write_text('{"id": "1", "question": "?"}\n', "utf-8")
    with pytest.raises(UsageError, match=r"problems.jsonl, line 1"):
        read_run(tmp_path)


def test_a_solution_of_no_problem_of_the_run_is_not_kept(
    tmp_path: Path, describe: Describe, problems: Problems, solve: Solve
) -> None:
    with open_run(tmp_path, describe(), problems) as writer:
        for change in ({"line": 9}, {"line": None}, {"question": "Else?"}, {"id": "else"}):
            with pytest.raises(ValueError, match="another problem"):
                writer.append(solve(1).model_copy(update=change))
    assert not read_run(tmp_path).solutions


def test_a_start_that_was_killed_before_it_was_a_run_is_begun_anew(
    tmp_path: Path, describe: Describe, problems: Problems
) -> None:
    (tmp_path / "problems.jsonl").write_text('{"id": "half', "utf-8")
    (tmp_path / ".run.json.17.partial").write_text("{", "utf-8")
    with open_run(tmp_path, describe(), problems) as writer:
        assert writer.run.unsolved == [1, 2, 3, 4]
    assert read_run(tmp_path).problems == problems


def test_machine_and_versions_say_what_is_here() -> None:
    machine, versions = Machine.here(), Versions.here()
    assert machine.processor
    assert 1 <= machine.cores <= machine.logical_cpus
    assert machine.memory_bytes > 10**8
    assert versions.python == platform.python_version()
    assert len(versions.native_library) == 16
    assert Machine(**json.loads(json.dumps(machine.to_dict()))) == machine
