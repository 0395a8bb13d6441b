"""Accuracy with its interval, and a trial of a real pack."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorid_edge.data.record import Record
from lorid_edge.evaluation.accuracy import Accuracy, wilson_interval
from lorid_edge.evaluation.trial import Trial, try_pack
from lorid_edge.loop.solution import Sample, Seconds, Settings, Solution, Status, TokenCounts
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role

ROLE_NAMES = [role.value for role in Role]


@pytest.mark.parametrize(
    ("right", "problems"), [(0, 1), (1, 1), (29, 100), (0, 50), (50, 50), (431, 500)]
)
def test_the_interval_is_wilsons(right: int, problems: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(right, problems).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, problems) == pytest.approx((expected.low, expected.high))


def test_no_problems_say_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert str(Accuracy(29, 100)) == "29.0 % (21.0 to 38.5), 29 of 100"


def solution(answer: str | None, *samples: Sample) -> Solution:
    return Solution(
        question="?",
        answer=answer,
        status=Status.VOTED,
        confidence=0.5,
        policy="dr",
        pack="toy",
        seed=0,
        rounds=1,
        samples=samples,
        tokens=TokenCounts(prompt=1, cached=0, generated=10, forced=0),
        seconds=Seconds(total=1, load=1, first_token=1, **dict.fromkeys(ROLE_NAMES, 1)),
        settings=Settings(width=1, max_rounds=1, max_seconds=None, calculator=True),
    )


def sample(role: Role, text: str, answer: str | None = None, finish: str = "end") -> Sample:
    return Sample(
        role=role,
        round=1,
        index=0,
        text=text,
        answer=answer,
        tokens=5,
        finish=finish,
        calculator_results=0,
        calculator_corrections=0,
    )


def test_a_trial_counts_right_answers_and_well_formed_replies() -> None:
    trial = Trial("dr")
    rules = sample(Role.KNOWLEDGE_GENERATOR, "- Add the parts.")
    trial.add(solution("0.50", rules, sample(Role.DEEP_REASONER, "...", "0.50")), "#### 1/2")
    chatter = sample(Role.KNOWLEDGE_GENERATOR, "Let us think.")
    trial.add(solution(None, chatter, sample(Role.DEEP_REASONER, "...")), "7")
    endless = sample(Role.KNOWLEDGE_GENERATOR, "- Add.", finish="length")
    trial.add(solution("8", endless, sample(Role.DEEP_REASONER, "", finish="cancelled")), "7")
    found = trial.as_json()
    assert (found["problems"], found["right"], found["accuracy_percent"]) == (3, 1, 33.33)
    assert found["tokens_per_problem"] == 10
    assert found["well_formed_percent"] == {"knowledge_generator": 33.33, "deep_reasoner": 50.0}


def test_a_pack_is_tried_on_the_problems_that_have_answers(
    tiny_home: Path, brief_pack: Path
) -> None:
    records = [
        Record(id="1", question="What is 2+2?", answer="4"),
        Record(id="2", question="Why?"),
        Record(id="3", question="What is 3*5?", answer="15"),
    ]
    store, heard = PackStore(tiny_home), list[tuple[int, int]]()

    def note(done: int, right: int) -> None:
        heard.append((done, right))

    trial = try_pack(brief_pack, records, "dr", store=store, on_solved=note)
    assert [done for done, _ in heard] == [1, 2]
    assert trial.problems == 2
    assert heard[-1] == (2, trial.right)
    assert trial.samples[Role.KNOWLEDGE_GENERATOR] == trial.samples[Role.DEEP_REASONER] == 2
    again = try_pack(brief_pack, records, "dr", store=store, seed=5)  # greedy: no chance in it
    assert (again.right, again.tokens) == (trial.right, trial.tokens)
