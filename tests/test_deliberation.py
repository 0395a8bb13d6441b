"""One problem's course, with an engine written by hand: the samples that it is to have made."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lorid_edge.engine.lane import LaneTokens, Progress
from lorid_edge.engine.model import BARE
from lorid_edge.engine.sequence import Finish, GenerationRequest
from lorid_edge.loop.deliberation import Deliberation, Problem, Workplace
from lorid_edge.loop.policies import make_policy
from lorid_edge.loop.prompts import Prompt
from lorid_edge.packs.manifest import PackManifest, load_manifest
from lorid_edge.roles import Role


class WrittenEngine:
    """Takes requests and lets the test say how their samples end."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self._submitted = 0

    def submit(self, request: GenerationRequest) -> int:
        self._submitted += 1
        self.pending.append(self._submitted)
        return self._submitted

    def cancel(self, ticket: int) -> None:
        self.pending.remove(ticket)

    def release(self, group: int) -> LaneTokens:
        return LaneTokens()

    def end_next(self, text: str) -> Progress:
        sequence: Any = SimpleNamespace(
            text=text,
            tokens=[1],
            finish=Finish.STOP,
            is_cut=False,
            calculator_calls=[],
            forced_tokens=0,
            mean_entropy_nats=0.2,
        )
        return Progress(self.pending.pop(0), sequence, text)


class WrittenPrompts:
    def build(self, role: Role, question: str, knowledge: str = "") -> Prompt:
        return Prompt(tokens=(1, 2, 3), hold_tokens=2)

    def fixed(self, role: Role) -> tuple[int, ...]:
        return (1,)


@pytest.fixture
def engine() -> WrittenEngine:
    return WrittenEngine()


@pytest.fixture
def workplace(brief_pack: Path, engine: Any) -> Workplace:
    manifest: PackManifest = load_manifest(brief_pack)
    prompts: Any = WrittenPrompts()
    return Workplace(engine, manifest, prompts, dict.fromkeys(Role, BARE), 256, 0.0)


def deliberate(workplace: Workplace, policy: str) -> Deliberation:
    deliberation = Deliberation(workplace, Problem("?", 0, 0), make_policy(policy, width=2))
    deliberation.begin()
    return deliberation


def test_more_answers_are_expected_as_long_as_there_is_no_verdict(
    workplace: Workplace, engine: WrittenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the process which compares expressions is there when the second one comes."""
    expected: list[str] = []
    monkeypatch.setattr("lorid_edge.loop.deliberation.expect_more_answers", expected.append)
    vote = deliberate(workplace, "vote")
    vote.handle(engine.end_next("No answer."), 0.1)
    assert expected == []
    vote.handle(engine.end_next(r"It is \boxed{2\sqrt{3}}"), 0.1)
    assert expected == [r"2\sqrt{3}"]
    intuition = deliberate(workplace, "ir")
    engine.pending = intuition.tickets
    intuition.handle(engine.end_next(r"It is \boxed{x+1}"), 0.1)
    assert intuition.is_over
    assert expected == [r"2\sqrt{3}"]


def test_the_reading_of_a_prompt_is_time_of_its_role(
    workplace: Workplace, engine: WrittenEngine
) -> None:
    deep = deliberate(workplace, "dr")
    (ticket,) = engine.pending
    deep.spend(ticket, 0.5)
    deep.handle(engine.end_next("Add them."), 0.25)
    deep.handle(engine.end_next(r"It is \boxed{4}"), 0.125)
    seconds = deep.solution().seconds
    assert (seconds.knowledge_generator, seconds.deep_reasoner) == (0.75, 0.125)
