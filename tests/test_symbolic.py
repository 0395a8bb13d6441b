"""The process that compares expressions: when it starts, and what is remembered of its verdicts."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from lorid_edge.answers import expect_more_answers, symbolic
from lorid_edge.answers.symbolic import SymbolicProcess, symbolically_equal


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
