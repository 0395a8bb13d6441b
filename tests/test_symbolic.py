"""The process that compares expressions: when it starts, and what is remembered of its verdicts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lorid_edge.answers import expect_more_answers, same_answer, symbolic
from lorid_edge.answers.symbolic import SymbolicProcess, symbolically_equal

SLOW_SUM = r"\sum_{n=1}^{99999} \frac{1}{n^2+n+1}"


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[SymbolicProcess]:
    """In the place of the one that all comparisons share."""
    process = SymbolicProcess(comparison_seconds=60)
    monkeypatch.setattr(symbolic, "_process", process)
    yield process
    process.close()


def children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        try:
            if "lorid_edge.answers.symbolic_worker" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


@pytest.mark.parametrize("answer", ["18", "1/2", "0.5", "Monday", "no"])
def test_answers_that_are_compared_at_once_start_no_process(
    process: SymbolicProcess, answer: str
) -> None:
    before = children()
    expect_more_answers(answer)
    assert children() == before


def test_an_expression_starts_the_process_that_a_comparison_then_uses(
    process: SymbolicProcess,
) -> None:
    before = set(children())
    expect_more_answers(r"2\sqrt{3}")
    (started,) = set(children()) - before
    expect_more_answers("x+1")
    assert symbolically_equal("x + 29", "29 + x")
    assert set(children()) - before == {started}


def test_an_undecided_comparison_is_not_remembered(
    process: SymbolicProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = SymbolicProcess(comparison_seconds=0)
    with monkeypatch.context() as patch:
        patch.setattr(symbolic, "_process", hasty)
        assert not symbolically_equal("x + 31", "31 + x")
    hasty.close()
    assert symbolically_equal("x + 31", "31 + x")


def test_a_decided_comparison_is_remembered(
    process: SymbolicProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert symbolically_equal("x + 37", "37 + x")
    monkeypatch.setattr(symbolic, "_process", None)
    assert symbolically_equal("x + 37", "37 + x")


def test_expressions_compare_off_the_main_thread() -> None:
    verdicts: list[bool] = []
    pairs = [(r"\sqrt{12}", r"2\sqrt{3}"), (r"\sqrt{12}", r"3\sqrt{2}"), ("x+2", "2+x")]
    threads = [
        threading.Thread(target=lambda pair=pair: verdicts.append(same_answer(*pair)))
        for pair in pairs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdicts) == [False, True, True]


def test_an_endless_comparison_is_given_up_and_the_next_one_works() -> None:
    process = SymbolicProcess(comparison_seconds=1.0)
    try:
        assert process.equal("x+1", "1+x")
        assert not process.equal(SLOW_SUM, r"\frac{1}{2}")
        assert process.equal("x+3", "3+x")
    finally:
        process.close()


def test_without_math_verify_texts_are_compared_and_one_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    process = SymbolicProcess()
    assert not process.equal("x+1", "1+x")
    assert not process.equal("x+1", "1+x")
    assert len(caplog.records) == 1
    assert "math-verify" in caplog.text


@pytest.mark.skipif(os.name == "nt", reason="uses a POSIX signal")
def test_the_child_ends_with_its_parent() -> None:
    program = (
        "import os, signal; from lorid_edge.answers.symbolic import SymbolicProcess; "
        "process = SymbolicProcess(); process.equal('x', 'y'); "
        "print(process._child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", program], cwd=_package_parent(), stdout=subprocess.PIPE, text=True
    )
    try:
        psutil.Process(int(parent.stdout)).wait(timeout=30)
    except psutil.NoSuchProcess:
        pass


def _package_parent() -> Path:
    return Path(__file__).resolve().parents[1]
