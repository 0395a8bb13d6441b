"""`lorid-edge eval` with real weights: what it keeps, goes on with, prints and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lorid_edge.cli.main import app
from lorid_edge.evaluation.run_folder import EvaluationRun, read_run

COMMAND = [sys.executable, "-c", "from lorid_edge.cli.main import main; main()"]


@pytest.fixture
def runner(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    monkeypatch.setenv("LORID_EDGE_OFFLINE", "1")
    return CliRunner()


def write_sums(path: Path, count: int) -> Path:
    lines = [
        {"id": f"sum-{n}", "question": f"What is {n}+{n}?", "answer": str(2 * n)}
        for n in range(1, count + 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    """Six problems with answers."""
    return write_sums(tmp_path / "sums.jsonl", 6)


def command(data: Path, pack: Path, run: Path, *more: str) -> list[str]:
    settings = ("--policy", "ir", "--width", "1", "--run", str(run))
    return ["eval", "--data", str(data), "--pack", str(pack), *settings, *more]


def texts(run: EvaluationRun) -> dict[str, list[str]]:
    return {
        str(solution.id): [sample.text for sample in solution.samples]
        for solution in run.solutions.values()
    }


def test_a_run_says_what_it_is_and_is_not_repeated(
    runner: CliRunner, sums: Path, brief_pack: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = command(sums, brief_pack, folder, "--limit", "4", "--json")
    first = runner.invoke(app, arguments)
    assert first.exit_code == 0, first.stderr
    summary = json.loads(first.stdout.splitlines()[-1])
    run = read_run(folder)
    solutions = run.solutions.values()
    right = sum(bool(solution.correct) for solution in solutions)
    assert (summary["problems"], summary["accuracy"]["right"]) == (4, right)
    assert all(isinstance(solution.correct, bool) for solution in solutions)
    assert len({solution.seed for solution in solutions}) == 4
    identity, session = run.description.identity, run.description.circumstances
    assert (identity.pack.name, identity.data.limit, identity.policy) == ("brief", 4, "ir")
    assert (session.solved, session.in_flight) == (4, 4)  # no more than there are
    assert json.loads((folder / "summary.json").read_text("utf-8"))["accuracy"]["right"] == right

    kept = (folder / "solutions.jsonl").read_bytes()
    again = runner.invoke(app, arguments)
    assert json.loads(again.stdout.splitlines()[-1]) == summary
    assert "solved before" in again.stderr
    assert (folder / "solutions.jsonl").read_bytes() == kept
    in_words = runner.invoke(app, arguments[:-1])
    assert f"{right} of 4" in in_words.stdout


def test_without_a_folder_the_same_command_finds_its_run_again(
    runner: CliRunner, sums: Path, brief_pack: Path, tiny_home: Path
) -> None:
    arguments = ["eval", "--data", str(sums), "--pack", str(brief_pack), "--width", "1"]
    arguments += ["--policy", "ir", "--limit", "1"]
    assert runner.invoke(app, arguments).exit_code == 0
    (folder,) = (tiny_home / "evaluations").glob("brief-ir-development-*")
    kept = (folder / "solutions.jsonl").read_bytes()
    again = runner.invoke(app, [*arguments, "--in-flight", "2"])  # no part of what a run is
    assert "solved before" in again.stderr
    assert (folder / "solutions.jsonl").read_bytes() == kept
    assert runner.invoke(app, [*arguments, "--seed", "1"]).exit_code == 0
    assert len(list((tiny_home / "evaluations").glob("brief-ir-development-*"))) == 2


def test_a_problem_does_not_depend_on_the_others_of_its_run(
    runner: CliRunner, sums: Path, brief_pack: Path, tmp_path: Path
) -> None:
    found = []
    for limit in ("2", "4"):
        more = ("--limit", limit, "--in-flight", "1")
        arguments = command(sums, brief_pack, tmp_path / limit, *more)
        assert runner.invoke(app, arguments).exit_code == 0
        found.append(texts(read_run(tmp_path / limit)))
    few, many = found
    assert len(few) == 2
    assert few.items() <= many.items()


def test_a_question_that_is_too_long_is_counted_as_not_solved(
    runner: CliRunner, brief_pack: Path, tmp_path: Path
) -> None:
    data = tmp_path / "long.jsonl"
    problems = [{"question": "ab " * 5000, "answer": 1}, {"question": "What is 1+1?", "answer": 2}]
    data.write_text("".join(json.dumps(problem) + "\n" for problem in problems), "utf-8")
    result = runner.invoke(app, command(data, brief_pack, tmp_path / "run", "--json"))
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["accuracy"]["problems"] == 2
    assert summary["failures"]["too_long"] == 1
    assert read_run(tmp_path / "run").solutions[1].correct is False


def test_another_configuration_is_refused_with_the_difference(
    runner: CliRunner, sums: Path, brief_pack: Path, tmp_path: Path
) -> None:
    arguments = command(sums, brief_pack, tmp_path / "run", "--limit", "1")
    assert runner.invoke(app, arguments).exit_code == 0
    refused = runner.invoke(app, [*arguments, "--seed", "5", "--greedy"])
    assert refused.exit_code == 2
    assert "seed: 5 here, 0 there" in refused.stderr
    assert "sampling.temperature: 0.0 here, 0.7 there" in refused.stderr
    assert "width" not in refused.stderr


@pytest.mark.parametrize(
    ("more", "exit_code", "message"),
    [
        (("--data", "nowhere"), 1, "unknown data set 'nowhere'"),
        (("--data", "unanswered.jsonl"), 1, 'line 1: no reference answer; expected "answer"'),
        (("--memory", "10"), 1, "needs about"),
        (("--limit", "0"), 2, "--limit is 0"),
        (("--in-flight", "0"), 2, "in_flight is 0"),
        (("--split", "train"), 2, "development or test"),
        (("--policy", "oracle"), 2, "oracle"),
        (("--pack", "nothing"), 1, "unknown pack"),
        (("--max-seconds", "inf"), 2, "finite"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_anything_is_made(
    runner: CliRunner,
    sums: Path,
    brief_pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: Sequence[str],
    exit_code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("unanswered.jsonl").write_text('{"question": "What is 7*8?"}\n', "utf-8")
    result = runner.invoke(app, command(sums, brief_pack, tmp_path / "run", *more))
    assert result.exit_code == exit_code
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def start(arguments: list[str], home: Path) -> subprocess.Popen[str]:
    """A process group of its own, so that a signal reaches the command and not pytest."""
    environment = {**os.environ, "LORID_EDGE_HOME": str(home), "LORID_EDGE_OFFLINE": "1"}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_solutions(child: subprocess.Popen[str], folder: Path, count: int) -> None:
    path = folder / "solutions.jsonl"
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert child.poll() is None, child.communicate()
        time.sleep(0.01)


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "solutions.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_killed_run_is_gone_on_with(
    runner: CliRunner, brief_pack: Path, tiny_home: Path, tmp_path: Path
) -> None:
    data, folder = write_sums(tmp_path / "sums.jsonl", 40), tmp_path / "run"
    arguments = command(data, brief_pack, folder, "--in-flight", "2")
    with start(arguments, tiny_home) as child:
        wait_for_solutions(child, folder, 2)
        os.kill(child.pid, signal.SIGKILL)
    kept = len(read_run(folder).solutions)
    assert 2 <= kept < 40
    path = folder / "solutions.jsonl"
    before = path.read_bytes()
    path.write_bytes(before + before[:70])  # a kill may also come in the middle of a line
    resumed = runner.invoke(app, [*arguments, "--json"])
    assert resumed.exit_code == 0, resumed.stderr
    assert path.read_bytes().startswith(before)
    assert sorted(line["line"] for line in lines(folder)) == list(range(1, 41))
    description = read_run(folder).description
    assert description.circumstances.solved is None
    assert [session.solved for session in description.continued] == [40 - kept]


def test_after_ctrl_c_the_summary_so_far_is_printed(
    brief_pack: Path, tiny_home: Path, tmp_path: Path
) -> None:
    data, folder = write_sums(tmp_path / "sums.jsonl", 200), tmp_path / "run"
    with start(command(data, brief_pack, folder, "--json"), tiny_home) as child:
        wait_for_solutions(child, folder, 1)
        os.kill(child.pid, signal.SIGINT)
        stdout, stderr = child.communicate()
    assert child.returncode == 130, stderr
    assert "run the same command again" in stderr
    assert "Traceback" not in stderr
    summary = json.loads(stdout)
    run = read_run(folder)
    assert summary["problems"] == 200
    assert summary["solved"] == len(run.solutions) == run.description.circumstances.solved
    assert 1 <= summary["solved"] < 200
