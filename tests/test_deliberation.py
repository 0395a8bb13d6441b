"""One problem's course, with an engine written by hand: the samples that it is to have made."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lorid_edge.engine.lane import LaneTokens, Progress
from lorid_edge.engine.model import BARE
from lorid_edge.engine.sequence import CalculatorCall, Finish, GenerationRequest
from lorid_edge.loop.deliberation import Deliberation, Problem, Workplace
from lorid_edge.loop.events import CalculatorResult, RoleStarted, SampleFinished, TextAdded
from lorid_edge.loop.policies import make_policy
from lorid_edge.loop.prompts import Prompt
from lorid_edge.packs.manifest import PackManifest, load_manifest
from lorid_edge.roles import Role


class WrittenEngine:
    """Takes requests and lets the test say how their samples end."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.begun: dict[int, Any] = {}
        self._submitted = 0

    def submit(self, request: GenerationRequest) -> int:
        self._submitted += 1
        self.pending.append(self._submitted)
        return self._submitted

    def cancel(self, ticket: int) -> Any:
        self.pending.remove(ticket)
        sequence = self.begun.get(ticket)
        if sequence is not None:
            sequence.finish = Finish.CANCELLED
        return sequence

    def release(self, group: int) -> LaneTokens:
        return LaneTokens()

    def end_next(self, text: str) -> Progress:
        return Progress(self.pending.pop(0), written_sequence(text, Finish.STOP), text)


def written_sequence(text: str, finish: Finish | None) -> Any:
    return SimpleNamespace(
        text=text,
        tokens=[1],
        finish=finish,
        is_cut=False,
        calculator_calls=[],
        forced_tokens=0,
        mean_entropy_nats=0.2,
    )


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


def test_what_a_decode_added_to_a_sample_that_it_made_needless_is_told(
    workplace: Workplace, engine: WrittenEngine
) -> None:
    """One decode advances all samples, and the first one that is handled may end the problem."""
    vote = Deliberation(workplace, Problem("?", 0, 0), make_policy("vote", 4, max_rounds=1))
    started = [event for event in vote.begin() if isinstance(event, RoleStarted)]
    last = engine.pending[-1]
    growing = written_sequence("3 * 4", None)
    engine.begun[last] = growing
    assert vote.handle(Progress(last, growing, "3 * 4"), 0.1)
    growing.text = "3 * 4 = 12 #"
    growing.calculator_calls.append(CalculatorCall("12", differed=True))
    events = [vote.handle(engine.end_next(r"It is \boxed{12}"), 0.1) for _ in started[:-1]]
    assert vote.is_over
    role, index = started[-1].role, started[-1].index
    *_, call, text, finished = events[-1]
    assert call == CalculatorResult(role, index, "12", differed=True)
    assert text == TextAdded(role, index, " = 12 #")
    assert isinstance(finished, SampleFinished)
    assert (finished.sample.text, finished.sample.finish) == ("3 * 4 = 12 #", "cancelled")
    assert vote.handle(Progress(last, growing, " = 12 "), 0.1) == []
