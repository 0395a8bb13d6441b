"""`lorid-edge solve --file`: every result is kept once, whatever ends a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lorid_edge.cli.main import app

COMMAND = [sys.executable, "-c", "from lorid_edge.cli.main import main; main()"]


@pytest.fixture
def runner(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.delenv("LORID_EDGE_OFFLINE", raising=False)
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    return CliRunner()


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Four problems; one of them has GSM8K's form, one an id and no reference."""
    path = tmp_path / "problems.jsonl"
    records: list[dict[str, Any]] = [
        {"question": "What is 7*8?", "answer": "7*8=<<7*8=56>>56\n#### 56"},
        {"question": "What is 1+1?", "id": "sum"},
        {"question": "What is 6*6?", "id": 3, "answer": 36},
        {"question": "What is 9-4?", "answer": "5"},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def command(problems: Path, pack: Path, *more: str) -> list[str]:
    return ["solve", "--file", str(problems), "--pack", str(pack), "--policy", "ir", *more]


def results(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_results_come_in_the_order_of_the_file_and_are_remembered(
    runner: CliRunner, problems: Path, brief_pack: Path
) -> None:
    arguments = command(problems, brief_pack, "--in-flight", "3")
    first = runner.invoke(app, arguments)
    assert first.exit_code == 0, first.stderr
    found = results(first.stdout)
    assert [entry["line"] for entry in found] == [1, 2, 3, 4]
    assert [entry.get("id") for entry in found] == [None, "sum", 3, None]
    assert [isinstance(entry.get("correct"), bool) for entry in found] == [True, False, True, True]
    assert "4 of 4 solved" in first.stderr
    assert "of 3 correct" in first.stderr
    again = runner.invoke(app, arguments)
    assert again.stdout == first.stdout
    assert "earlier run" in again.stderr
    other = runner.invoke(app, [*arguments, "--seed", "5"])
    assert [entry["seed"] for entry in results(other.stdout)] == [5, 5, 5, 5]


def test_broken_lines_do_not_stop_the_rest(
    runner: CliRunner, problems: Path, brief_pack: Path, tmp_path: Path
) -> None:
    good = problems.read_bytes().splitlines(keepends=True)
    mixed = tmp_path / "mixed.jsonl"
    too_long = json.dumps({"question": "ab " * 5000}).encode() + b"\n"
    mixed.write_bytes(b"{broken\n" + good[0] + b'{"question": 3}\n\xff\xfe\n' + too_long + good[1])
    result = runner.invoke(app, command(mixed, brief_pack))
    assert result.exit_code == 1
    assert [entry["line"] for entry in results(result.stdout)] == [2, 6]
    for line in (1, 3, 4, 5):
        assert f"{mixed}, line {line}: " in result.stderr
    assert "2 of 3 solved, 4 lines failed" in result.stderr


def test_output_is_appended_to_and_torn_lines_are_cut_off(
    runner: CliRunner, problems: Path, brief_pack: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.jsonl"
    arguments = command(problems, brief_pack, "--output", str(output))
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    whole = output.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert [json.loads(line)["line"] for line in lines] == [1, 2, 3, 4]
    output.write_bytes(b"".join(lines[:2]) + lines[2][:50])
    resumed = runner.invoke(app, arguments)
    assert resumed.exit_code == 0
    again = output.read_bytes().splitlines(keepends=True)
    assert again[:2] == lines[:2]
    assert [json.loads(line)["line"] for line in again] == [1, 2, 3, 4]
    assert json.loads(again[2])["answer"] == json.loads(lines[2])["answer"]


def test_output_of_another_run_or_kind_is_refused(
    runner: CliRunner, problems: Path, brief_pack: Path, tmp_path: Path
) -> None:
    diary = tmp_path / "diary.txt"
    diary.write_text("Dear diary", "utf-8")
    refused = runner.invoke(app, command(problems, brief_pack, "--output", str(diary)))
    assert refused.exit_code == 2
    assert "use another --output" in refused.stderr
    assert diary.read_text("utf-8") == "Dear diary"
    over_input = runner.invoke(app, command(problems, brief_pack, "--output", str(problems)))
    assert over_input.exit_code == 2
    assert len(results(problems.read_text("utf-8"))) == 4

    output = tmp_path / "results.jsonl"
    short = tmp_path / "short.jsonl"
    short.write_text(problems.read_text("utf-8").splitlines()[0] + "\n", "utf-8")
    arguments = command(short, brief_pack, "--output", str(output))
    assert runner.invoke(app, arguments).exit_code == 0
    before = output.read_bytes()
    reseeded = runner.invoke(app, [*arguments, "--seed", "1"])
    assert reseeded.exit_code == 2
    assert "seed 0, this run has 1" in reseeded.stderr
    other_room = runner.invoke(app, [*arguments, "--context-tokens", "999"])
    assert other_room.exit_code == 2
    assert "another --context-tokens" in other_room.stderr
    short.write_text('{"question": "Another?"}\n', "utf-8")
    changed = runner.invoke(app, arguments)
    assert changed.exit_code == 2
    assert "another question for line 1" in changed.stderr
    assert output.read_bytes() == before


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_run_that_is_stopped_loses_and_doubles_nothing(
    runner: CliRunner, brief_pack: Path, tmp_path: Path, tiny_home: Path,
    stop: signal.Signals, code: int,
) -> None:  # fmt: skip
    problems = tmp_path / "many.jsonl"
    questions = [f"What is {number}+{number}?" for number in range(1, 13)]
    problems.write_text(
        "".join(json.dumps({"question": question}) + "\n" for question in questions), "utf-8"
    )
    environment = {**os.environ, "LORID_EDGE_HOME": str(tiny_home)}
    arguments = command(problems, brief_pack)
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    guard = threading.Timer(60, process.kill)
    guard.start()
    seen = [process.stdout.readline() for _ in range(3)]
    process.send_signal(stop)
    rest, error = process.communicate(timeout=20)
    guard.cancel()
    assert process.returncode == code
    assert b"Traceback" not in error
    written = [json.loads(line) for line in seen + rest.splitlines() if line.endswith(b"}\n")]
    assert len(written) < len(questions)

    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    found = results(result.stdout)
    assert [entry["question"] for entry in found] == questions
    assert found[: len(written)] == written


def test_the_whole_file_is_solved_within_the_time_given_to_each(
    runner: CliRunner, problems: Path, brief_pack: Path
) -> None:
    result = runner.invoke(app, command(problems, brief_pack, "--max-seconds", "0.001"))
    assert result.exit_code == 0
    assert [entry["status"] for entry in results(result.stdout)] == ["undecided"] * 4
