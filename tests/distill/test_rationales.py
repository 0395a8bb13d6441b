"""`lorid-edge distill rationales`, on the tiny base."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lorid_edge.answers import same_answer
from lorid_edge.cli.main import app
from lorid_edge.data.datasets import load_dataset
from lorid_edge.distill.journal import companion_of

COMMAND = [sys.executable, "-c", "from lorid_edge.cli.main import main; main()"]


@pytest.fixture
def runner(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.delenv("LORID_EDGE_OFFLINE", raising=False)
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    return CliRunner()


def command(problems: Path, pack: Path, output: Path, *more: str) -> list[str]:
    given = ["distill", "rationales", str(problems), "--pack", str(pack), "-o", str(output)]
    return [*given, *more]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_correct_chains_become_a_data_set(
    runner: CliRunner, adding_pack: Path, write_sums: Callable[[int], Path], tmp_path: Path
) -> None:
    problems, output = write_sums(6), tmp_path / "chains.jsonl"
    result = runner.invoke(
        app, command(problems, adding_pack, output, "--samples", "3", "--in-flight", "2", "--json")
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    made = load_dataset(output).records
    assert report["problems"] == report["done"] == 6
    assert report["samples"] == 18
    assert report["chains"] == len(made) > 0
    assert report["correct_samples"] >= report["chains"]
    answers = {problem["id"]: problem["answer"] for problem in lines(problems)}
    for record, line in zip(made, lines(output), strict=True):
        assert record.answer == answers[line["problem"]]
        assert record.rationale is not None
        assert "boxed" not in record.rationale
        left, _, right = record.rationale.partition("=")
        assert same_answer(right.strip(" ."), record.answer) or not left
    aside = lines(companion_of(output)) if companion_of(output).exists() else []
    assert {line["problem"] for line in lines(output)} | {line["id"] for line in aside} == set(
        answers
    )
    assert all(line["reason"] == "no_correct_chain" for line in aside)

    again = runner.invoke(app, command(problems, adding_pack, output, "--samples", "3", "--json"))
    assert json.loads(again.stdout)["samples"] == 0
    other = runner.invoke(app, command(problems, adding_pack, output, "--samples", "2"))
    assert other.exit_code == 2
    assert "samples 3, this run has 2" in other.stderr
    options = ("--samples", "3", "--keep", "1")
    other = runner.invoke(app, command(problems, adding_pack, output, *options))
    assert other.exit_code == 2
    assert "keep None, this run has 1" in other.stderr
    old = lines(output)  # as versions wrote them that said less
    for name in ("adapter", "keep", "top_k", "top_p", "max_tokens", "calculator"):
        old = [{key: value for key, value in line.items() if key != name} for line in old]
    output.write_text("".join(json.dumps(line) + "\n" for line in old), "utf-8")
    companion_of(output).unlink(missing_ok=True)
    again = runner.invoke(app, command(problems, adding_pack, output, *options, "--json"))
    assert again.exit_code == 0, again.stderr


def test_a_killed_run_goes_on_where_it_was(
    runner: CliRunner,
    adding_pack: Path,
    write_sums: Callable[[int], Path],
    tmp_path: Path,
    tiny_home: Path,
) -> None:
    problems, output = write_sums(16), tmp_path / "chains.jsonl"
    arguments = command(problems, adding_pack, output, "--in-flight", "1", "--samples", "2")
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env={**os.environ, "LORID_EDGE_HOME": str(tiny_home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (output.exists() and output.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    before = lines(output)
    done = {line["problem"] for line in before}
    assert 0 < len(done) < 16

    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    after = lines(output)
    assert after[: len(before)] == before
    aside = {line["id"] for line in lines(companion_of(output))} if (
        companion_of(output).exists()
    ) else set()  # fmt: skip
    solved = [line["problem"] for line in after]
    assert set(solved) | aside == {f"sum-{n}" for n in range(1, 17)}
    assert not set(solved) & aside
    assert len({line["id"] for line in after}) == len(after)


def test_ctrl_c_keeps_what_is_done(
    adding_pack: Path, write_sums: Callable[[int], Path], tmp_path: Path, tiny_home: Path
) -> None:
    output = tmp_path / "chains.jsonl"
    arguments = command(write_sums(400), adding_pack, output, "--in-flight", "2")
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env={**os.environ, "LORID_EDGE_HOME": str(tiny_home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not (output.exists() and output.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error
    assert b"run the same command again" in error
    assert b"Traceback" not in error
    assert len(lines(output)) > 0


@pytest.mark.parametrize(
    ("more", "code", "part"),
    [
        (("--samples", "0"), 2, "at least 1"),
        (("--samples", "16", "--in-flight", "17"), 2, "too many at once"),
        (("--temperature", "9"), 2, "from 0 to 5"),
        (("--limit", "0"), 2, "--limit is 0"),
        (("--pack", "nothing"), 1, "unknown pack"),
    ],
)
def test_impossible_wishes_are_refused(
    runner: CliRunner,
    adding_pack: Path,
    write_sums: Callable[[int], Path],
    tmp_path: Path,
    more: tuple[str, ...],
    code: int,
    part: str,
) -> None:
    output = tmp_path / "chains.jsonl"
    result = runner.invoke(app, command(write_sums(2), adding_pack, output, *more))
    assert result.exit_code == code
    assert part in result.stderr
    assert not output.exists()


def test_problems_that_cannot_be_judged_or_asked(
    runner: CliRunner, adding_pack: Path, tmp_path: Path
) -> None:
    problems, output = tmp_path / "some.jsonl", tmp_path / "chains.jsonl"
    problems.write_text('{"question": "What is 2+2?"}\n', "utf-8")
    result = runner.invoke(app, command(problems, adding_pack, output))
    assert result.exit_code == 1
    assert "no problem has an answer" in result.stderr
    long = {"id": "long", "question": "How many? " * 400, "answer": "1"}
    problems.write_text(json.dumps(long) + "\n", "utf-8")
    result = runner.invoke(app, command(problems, adding_pack, output))
    assert result.exit_code == 0, result.stderr
    assert [line["reason"] for line in lines(companion_of(output))] == ["too_long"]
