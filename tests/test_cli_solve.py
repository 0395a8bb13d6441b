"""`lorid-edge solve` from outside: streams, exit codes, JSON, bad input, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from typer.testing import CliRunner

from lorid_edge.cli.main import app

COMMAND = [sys.executable, "-c", "from lorid_edge.cli.main import main; main()"]
QUESTION = "What is 7*8?"


@pytest.fixture
def runner(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name in ("LORID_EDGE_OFFLINE", "LORID_EDGE_DEBUG", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    return CliRunner()


def start(arguments: list[str], home: Path, **streams: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LORID_EDGE_HOME": str(home), "NO_COLOR": ""}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **streams,
    )


def interrupt_at(process: subprocess.Popen[bytes], mark: bytes) -> tuple[bytes, bytes]:
    """Send Ctrl-C once `mark` has been written to stderr; returns all of stdout and stderr."""
    assert process.stderr is not None
    assert process.stdout is not None
    before = b""
    # A program that never writes the mark is ended, so that the test fails and does not hang.
    guard = threading.Timer(60, process.kill)
    guard.start()
    while mark not in before:
        piece = os.read(process.stderr.fileno(), 4096)
        if not piece:
            break
        before += piece
    process.send_signal(signal.SIGINT)
    out, after = process.communicate(timeout=20)
    guard.cancel()
    return out, before + after


# --- one problem --------------------------------------------------------------------------------


def test_stdout_holds_the_answer_alone(runner: CliRunner, brief_pack: Path) -> None:
    arguments = ["solve", QUESTION, "--pack", str(brief_pack), "--policy", "ir"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0
    answer = result.stdout
    assert answer.count("\n") == 1
    assert answer.strip()
    assert result.stderr.startswith("voted, confidence ")
    assert "tokens: " in result.stderr
    assert "\x1b" not in result.output
    again = runner.invoke(app, arguments)
    assert again.stdout == answer


def test_json_is_one_object_with_the_documented_fields(runner: CliRunner, brief_pack: Path) -> None:
    result = runner.invoke(
        app, ["solve", QUESTION, "--pack", str(brief_pack), "--policy", "dr", "--json"]
    )
    solution = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert set(solution) == {
        "schema", "question", "answer", "status", "confidence", "policy", "pack", "seed",
        "rounds", "samples", "tokens", "seconds", "settings",
    }  # fmt: skip
    assert solution["schema"] == 1
    assert solution["question"] == QUESTION
    assert (solution["pack"], solution["policy"], solution["seed"]) == ("brief", "dr", 0)
    assert 0 <= solution["confidence"] <= 1
    assert [sample["role"] for sample in solution["samples"]] == [
        "knowledge_generator",
        "deep_reasoner",
    ]
    assert set(solution["samples"][0]) >= {"role", "round", "text", "answer", "tokens", "finish"}
    assert set(solution["tokens"]) == {"prompt", "cached", "generated", "forced"}
    assert set(solution["seconds"]) >= {"total", "load", "first_token"}
    assert result.exit_code == (3 if solution["status"] == "undecided" else 0)


def test_no_agreement_is_exit_code_3_and_no_answer_an_empty_stdout(
    runner: CliRunner, tmp_path: Path, brief_pack: Path
) -> None:
    stops = "stop = " + json.dumps(list("0123456789"))  # before any number
    brief = (brief_pack / "pack.toml").read_text("utf-8")
    mute = brief.replace("max_tokens = 24", f"max_tokens = 24\n{stops}")
    (tmp_path / "pack.toml").write_text(mute, "utf-8")
    result = runner.invoke(app, ["solve", QUESTION, "--pack", str(tmp_path), "--policy", "ir"])
    assert result.exit_code == 3, result.stdout
    assert result.stdout == ""
    assert "No answer was found" in result.stderr
    assert "undecided" in result.stderr


def test_trace_prints_every_sample_to_stderr(runner: CliRunner, brief_pack: Path) -> None:
    result = runner.invoke(
        app, ["solve", QUESTION, "--pack", str(brief_pack), "--policy", "dr", "--trace"]
    )
    assert "--- knowledge_generator 1, round 1" in result.stderr
    assert "--- deep_reasoner 1, round 1" in result.stderr
    assert "---" not in result.stdout


def test_the_question_can_come_from_standard_input(runner: CliRunner, brief_pack: Path) -> None:
    arguments = ["solve", "-", "--pack", str(brief_pack), "--policy", "ir", "--json"]
    result = runner.invoke(app, arguments, input=b"\xef\xbb\xbfWhat is\n7*8?\n\n")
    assert json.loads(result.stdout)["question"] == "What is\n7*8?"


# --- wrong usage and bad input ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["solve", ""], "question is empty"),
        (["solve", " \n"], "question is empty"),
        (["solve", "x", "--width", "0"], "width is 0"),
        (["solve", "x", "--width", "many"], "--width"),
        (["solve", "x", "--policy", "guess"], "Policies: ir, dr"),
        (["solve", "x", "--max-rounds", "0"], "rounds is 0"),
        (["solve", "x", "--max-seconds", "-1"], "max-seconds is -1"),
        (["solve", "x", "--max-seconds", "nan"], "max-seconds is nan"),
        (["solve", "x", "--max-seconds", "inf"], "max-seconds is inf"),
        (["solve", "x", "--threads", "0"], "threads is 0"),
        (["solve", "x", "--context-tokens", "1"], "--context-tokens) is 1"),
        (["solve", "x", "--file", "y"], "not both"),
        (["solve", "x", "--output", "y"], "--output goes with --file"),
        (["solve", "x", "--in-flight", "2"], "--in-flight goes with --file"),
        (["solve", "--json"], "--json needs"),
        (["solve"], 'lorid-edge solve "What is 7*8?"'),
        (["solve", "--file", "/nowhere/problems.jsonl"], "does not exist"),
        (["solve", "x", "--nonsense"], "--nonsense"),
        (["eval", "--pack", "tiny", "compare", "a", "b"], "--pack does nothing before 'compare'"),
        (["eval", "--json", "report", "a"], "--json does nothing before 'report'"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_usage_is_exit_code_2(runner: CliRunner, arguments: list[str], told: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "not UTF-8"),
        (b"a" * 1_000_001, "more than 1,000,000 bytes"),
        (b"", "question is empty"),
    ],
)
def test_bad_standard_input_is_exit_code_2(runner: CliRunner, content: bytes, told: str) -> None:
    result = runner.invoke(app, ["solve", "-", "--pack", "tiny"], input=content)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_question_that_does_not_fit_is_exit_code_1(runner: CliRunner, brief_pack: Path) -> None:
    result = runner.invoke(app, ["solve", "ab " * 33_334, "--pack", str(brief_pack)])
    assert result.exit_code == 1
    assert "--context-tokens" in result.stderr
    assert result.stdout == ""


def test_an_unknown_pack_lists_those_known(runner: CliRunner) -> None:
    result = runner.invoke(app, ["solve", "x", "--pack", "huge"])
    assert result.exit_code == 1
    assert "unknown pack 'huge'" in result.stderr
    assert "tiny" in result.stderr


def test_a_missing_base_offline_is_said_at_once(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tmp_path))
    monkeypatch.setenv("LORID_EDGE_OFFLINE", "1")
    result = runner.invoke(app, ["solve", "x", "--pack", "tiny"])
    assert result.exit_code == 1
    assert "LORID_EDGE_OFFLINE" in result.stderr


def test_a_missing_base_is_announced_before_it_is_fetched(
    runner: CliRunner, brief_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tmp_path))
    result = runner.invoke(app, ["solve", "x", "--pack", str(brief_pack)])
    assert result.exit_code == 1
    announced, _, failed = result.stderr.partition("\n")
    assert "98 MB from local nowhere.gguf" in announced
    assert "every source failed" in failed


def test_a_truncated_base_is_never_loaded(
    runner: CliRunner, tiny_base: Path, brief_pack: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("LORID_EDGE_HOME", str(tmp_path))
    target = tmp_path / "bases" / tiny_base.name
    target.parent.mkdir()
    target.write_bytes(tiny_base.read_bytes()[:-1000])
    result = runner.invoke(app, ["solve", "x", "--pack", str(brief_pack)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_base_with_wrong_content_is_never_loaded(
    runner: CliRunner, tiny_base: Path, tmp_path: Path, brief_pack: Path
) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    wrong = "0" * 64
    manifest = (brief_pack / "pack.toml").read_text("utf-8")
    right = manifest.partition('sha256 = "')[2][:64]
    (folder / "pack.toml").write_text(manifest.replace(right, wrong), "utf-8")
    home = Path(os.environ["LORID_EDGE_HOME"])
    misnamed = home / "bases" / f"{wrong[:12]}-smollm2-135m-instruct-q4_1.gguf"
    misnamed.symlink_to(tiny_base)
    try:
        result = runner.invoke(app, ["solve", "x", "--pack", str(folder)])
    finally:
        misnamed.unlink()
    assert result.exit_code == 1
    assert f"expected {wrong}" in result.stderr
    assert "packs pull" in result.stderr


def test_control_characters_never_reach_the_screen(runner: CliRunner) -> None:
    result = runner.invoke(app, ["solve", "x", "--pack", "\x1b[31mred\x07"])
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr
    assert "\x07" not in result.stderr


def test_debugging_shows_the_traceback(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORID_EDGE_DEBUG", "1")
    result = runner.invoke(app, ["solve", "x", "--pack", "huge"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "unknown pack 'huge'" in result.stderr


# --- as a process -------------------------------------------------------------------------------


def test_ctrl_c_stops_a_decode(tiny_home: Path, brief_pack: Path) -> None:
    arguments = ["solve", QUESTION, "--pack", str(brief_pack), "--policy", "vote"]
    # One sample has to end before the signal: then the loop is surely at work.
    process = start([*arguments, "--trace", "--max-rounds", "1000"], tiny_home)
    out, error = interrupt_at(process, b"---")
    assert process.returncode == 130
    assert out == b""
    assert error.endswith(b"lorid-edge: interrupted\n")
    assert b"Traceback" not in error


def test_ctrl_c_while_loading_stops_too(tiny_home: Path) -> None:
    environment = {**os.environ, "LORID_EDGE_HOME": str(tiny_home), "LORID_EDGE_DEBUG": "1"}
    process = subprocess.Popen(
        [*COMMAND, "solve", QUESTION, "--pack", "tiny"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, error = interrupt_at(process, b"lorid_edge.llama")
    assert process.returncode == 130
    assert out == b""
    assert b"lorid-edge: interrupted\n" in error


def test_a_reader_that_has_gone_is_no_error(tiny_home: Path) -> None:
    process = start(["packs", "list"], tiny_home)
    output: IO[bytes] | None = process.stdout
    assert output is not None
    output.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(20) == 141


def test_locales_without_unicode_work(tiny_home: Path, brief_pack: Path) -> None:
    environment = {
        **os.environ, "LORID_EDGE_HOME": str(tiny_home), "PYTHONIOENCODING": "ascii",
    }  # fmt: skip
    finished = subprocess.run(
        [*COMMAND, "solve", "Combien font 7×8?", "--pack", str(brief_pack), "--policy", "ir",
         "--json"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert json.loads(finished.stdout.decode("utf-8"))["question"] == "Combien font 7×8?"


def test_a_fresh_home_is_enough(
    install_base: Callable[[Path], Path], tmp_path: Path, brief_pack: Path
) -> None:
    install_base(tmp_path)
    process = start(["solve", QUESTION, "--pack", str(brief_pack), "--policy", "ir"], tmp_path)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    assert out.strip()
