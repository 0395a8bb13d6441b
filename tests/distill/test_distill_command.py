"""`lorid-edge distill knowledge` against a real endpoint on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import Answer, rules, serving
from running_server import RunningServer
from typer.testing import CliRunner

from lorid_edge.cli.main import app
from lorid_edge.data.datasets import load_dataset
from lorid_edge.distill.journal import companion_of

COMMAND = [sys.executable, "-c", "from lorid_edge.cli.main import main; main()"]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("LORID_EDGE_OFFLINE", "1")  # an endpoint on this machine is allowed
    monkeypatch.setenv("LORID_EDGE_HOME", str(tmp_path / "home"))
    return CliRunner()


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Thirty problems in GSM8K's form."""
    path = tmp_path / "problems.jsonl"
    lines = [
        {
            "question": f"Ann has {n} apples and buys {n + 50}. How many has she?",
            "answer": f"{n}+{n + 50}=<<{n}+{n + 50}={2 * n + 50}>>{2 * n + 50}\n#### {2 * n + 50}",
        }
        for n in range(30)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def command(problems: Path, url: str, output: Path, *more: str) -> list[str]:
    given = ["distill", "knowledge", str(problems), "--teacher", url, "-o", str(output)]
    return [*given, "--model", "m", *more]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_data_set_gets_its_knowledge(runner: CliRunner, problems: Path, tmp_path: Path) -> None:
    output = tmp_path / "rules.jsonl"

    def behave(_: int, body: dict[str, Any]) -> Answer:
        is_third = "Ann has 2 apples" in body["messages"][-1]["content"]
        return rules("Add 52 to it.") if is_third else rules()

    with serving(behave) as endpoint:
        prices = ("--input-price", "2.5", "--output-price", "10", "--attempts", "2")
        result = runner.invoke(app, command(problems, endpoint.url, output, "--json", *prices))
        assert result.exit_code == 0, result.stderr
        asked = len(endpoint.bodies)
        again = runner.invoke(app, command(problems, endpoint.url, output, "--attempts", "2"))
        assert len(endpoint.bodies) == asked
    report = json.loads(result.stdout)
    assert (report["problems"], report["kept"], report["done"]) == (30, 29, 30)
    assert report["rules_per_problem"] == 2
    assert list(report["set_aside"].values()) == [1]
    assert report["cost_dollars"] == pytest.approx(31 * (100 * 2.5 + 20 * 10) / 1e6, abs=1e-4)
    made = load_dataset(output).records
    assert len(made) == 29
    assert all(record.knowledge and record.rationale and record.answer for record in made)
    assert [line["id"] for line in lines(companion_of(output))] == ["problems-train-00002"]
    assert "58 rules for 29 problems; set aside: 1 " in again.stdout


def test_a_dead_teacher_is_an_error_and_the_work_is_kept(
    runner: CliRunner, problems: Path, tmp_path: Path
) -> None:
    output = tmp_path / "rules.jsonl"
    with serving(lambda number, _: rules() if number < 5 else Answer(401, b"pay")) as endpoint:
        arguments = command(problems, endpoint.url, output, "--concurrency", "1")
        result = runner.invoke(app, arguments)
        assert result.exit_code == 1
        assert "answers 401 Unauthorized: pay" in result.stderr
        assert "Traceback" not in result.stderr
        assert len(lines(output)) == 5
        endpoint.behaviour = lambda *_: rules()
        resumed = runner.invoke(app, arguments)
        assert resumed.exit_code == 0
        assert len(endpoint.questions()) == len(set(endpoint.questions())) + 1
    assert len(lines(output)) == 30


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_asks_nothing_twice(
    runner: CliRunner, problems: Path, tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    output = tmp_path / "rules.jsonl"
    answer = Answer(200, rules().body, delay_seconds=0.1)
    with serving(lambda *_: answer) as endpoint:
        arguments = command(problems, endpoint.url, output, "--concurrency", "2")
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**os.environ, "LORID_EDGE_HOME": str(tmp_path / "home")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while len(endpoint.bodies) < 8 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(stop)
        _, error = process.communicate(timeout=20)
        assert process.returncode == code, error
        assert b"Traceback" not in error
        kept = lines(output)
        assert 0 < len(kept) < 30
        stopped_at = len(endpoint.bodies)
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        done = {line["question"] for line in kept}
        assert not done & set(endpoint.questions()[stopped_at:])
    assert lines(output)[: len(kept)] == kept
    assert len({line["id"] for line in lines(output)}) == len(lines(output)) == 30


def test_our_own_server_is_an_endpoint_that_teaches_nothing(
    runner: CliRunner,
    problems: Path,
    tmp_path: Path,
    tiny_home: Path,
    brief_pack: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ("--pack", str(brief_pack), "--max-seconds", "0.1")
    server = RunningServer(tiny_home, tmp_path / "log", *options)
    monkeypatch.setenv("TEACHER_KEY", server.token or "")
    try:
        arguments = command(
            problems, f"{server.address}/v1", tmp_path / "rules.jsonl", "--attempts", "1"
        )
        arguments += ["--model", "lorid-edge", "--key-variable", "TEACHER_KEY"]
        result = runner.invoke(app, arguments)
    finally:
        server.stop()
    assert result.exit_code == 1
    assert "not a JSON list of texts" in result.stderr
    assert "Use another teacher." in result.stderr


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (("--attempts", "0"), "--attempts is 0"),
        (("--concurrency", "1000"), "concurrency is 1000"),
        (("--input-price", "-1"), "A price"),
        (("--key-variable", "NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE"),
        (("--model", ""), "name of its model"),
        (("--teacher", "tiny"), "no address"),
    ],
)
def test_impossible_wishes_are_refused(
    runner: CliRunner, problems: Path, tmp_path: Path, more: tuple[str, ...], part: str
) -> None:
    if "--teacher" in more:
        (tmp_path / "model.gguf").touch()
        more = ("--teacher", str(tmp_path / "model.gguf"))
    arguments = command(problems, "http://127.0.0.1:1/v1", tmp_path / "rules.jsonl", *more)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.stderr
    assert part in result.stderr
    assert not (tmp_path / "rules.jsonl").exists()


def test_the_data_set_itself_is_not_written_to(runner: CliRunner, tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"id": "a", "question": "q", "rationale": "r", "answer": "1"}\n', "utf-8")
    result = runner.invoke(app, command(problems, "http://127.0.0.1:1/v1", problems))
    assert result.exit_code == 2
    assert "line 1: not a result of 'distill'" in result.stderr
    assert len(lines(problems)) == 1


def test_held_out_questions_and_remote_teachers_are_refused(
    runner: CliRunner, problems: Path, tmp_path: Path
) -> None:
    remote = runner.invoke(
        app, command(problems, "https://example.org/v1", tmp_path / "rules.jsonl")
    )
    assert remote.exit_code == 1
    assert "LORID_EDGE_OFFLINE forbids" in remote.stderr
    named = tmp_path / "my_test.jsonl"
    named.write_bytes(problems.read_bytes())
    result = runner.invoke(app, command(named, "http://127.0.0.1:1/v1", tmp_path / "rules.jsonl"))
    assert result.exit_code == 1
    assert "named as data to test with" in result.stderr
