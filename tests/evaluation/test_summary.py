"""What a run showed, as figures, as JSON and in words."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from solved import DR, IR, KG, run_of, sample, solution

from lorid_edge.evaluation.failures import Failure, failure_of
from lorid_edge.evaluation.run_description import RunDescription
from lorid_edge.evaluation.summary import Summary, summarise
from lorid_edge.evaluation.summary_json import as_dict
from lorid_edge.evaluation.summary_text import as_lines
from lorid_edge.loop.solution import Status

Describe = Callable[..., RunDescription]


FOUR = (
    solution(1, "7", sample(IR, 0, "7"), sample(DR, 0, "7"), correct=True, confidence=0.75),
    solution(
        2,
        "8",
        sample(IR, 0, "8"),
        sample(KG, 0, None, finish="end"),
        sample(DR, 0, "8"),
        correct=False,
        confidence=0.75,
        rounds=3,
        generated=300,
        decoding_seconds=3.0,
    ),
    solution(
        3,
        "9",
        sample(IR, 0, "9"),
        sample(DR, 0, "7"),
        correct=False,
        status=Status.UNDECIDED,
        confidence=0.5,
    ),
    solution(
        4,
        None,
        sample(IR, 0, None, finish="length"),
        sample(DR, 0, None, finish="cancelled"),
        correct=False,
        status=Status.UNDECIDED,
        confidence=0.0,
    ),
)


@pytest.fixture
def summary(describe: Describe) -> Summary:
    return summarise(run_of(describe(policy="paper"), *FOUR))


def test_accuracy_agreement_rounds_and_costs(summary: Summary) -> None:
    assert (summary.accuracy.right, summary.accuracy.problems) == (1, 4)
    assert (summary.agreement.right, summary.agreement.problems) == (2, 4)
    assert (summary.right_given_agreement.right, summary.right_given_agreement.problems) == (1, 2)
    assert summary.rounds == {1: 3, 3: 1}
    assert summary.mean_rounds == 1.5
    assert summary.tokens.generated == 150
    assert (summary.tokens.forced, summary.tokens.prompt, summary.tokens.cached) == (4, 20, 30)
    assert summary.seconds.decoding == pytest.approx(1.5)
    assert summary.seconds.latency == pytest.approx(3.0)
    assert summary.seconds.latency_median == pytest.approx(2.0)
    assert (summary.samples.finished, summary.samples.cut, summary.samples.cancelled) == (8, 1, 1)
    assert (summary.samples.calculator_results, summary.samples.calculator_corrections) == (18, 9)


def test_each_wrong_solution_is_one_failure(summary: Summary) -> None:
    assert {kind: count for kind, count in summary.failures.items() if count} == {
        Failure.AGREED_WRONG: 1,
        Failure.UNDECIDED_WRONG: 1,
        Failure.CUT: 1,
    }
    voted = solution(1, "8", correct=False, status=Status.VOTED)
    assert failure_of(voted) is Failure.VOTED_WRONG
    silent = solution(1, None, sample(IR, 0, None, finish="end"), correct=False)
    assert failure_of(silent) is Failure.NO_ANSWER
    only_rules_cut = solution(1, None, sample(KG, 0, None, finish="length"), correct=False)
    assert failure_of(only_rules_cut) is Failure.NO_ANSWER
    assert failure_of(FOUR[0]) is None


def test_the_authors_count_stands_beside_the_accuracy_of_paper_alone(
    summary: Summary, describe: Describe
) -> None:
    found = as_dict(summary)
    assert found["accuracy"]["percent"] == 25.0
    assert found["authors_protocol"]["lowest_percent"] == 25.0
    assert found["authors_protocol"]["highest_percent"] == 75.0  # two ended before they shared one
    voted = summarise(run_of(describe(), solution(1, "7", correct=True, policy="vote")))
    assert voted.authors_protocol is None
    assert not any("authors" in line for line in as_lines(voted))


def test_json_and_words_say_the_same(summary: Summary) -> None:
    found = json.loads(json.dumps(as_dict(summary)))
    assert found["at_k"]["intuitive_reasoner"] == [{"k": 1, "pass": 0.25, "majority": 0.25}]
    assert found["failures"]["agreed_wrong"] == 1
    assert found["seconds_per_problem"]["wall"] is None
    text = "\n".join(as_lines(summary))
    assert "accuracy: 25.0 % (4.6 to 69.9), 1 of 4" in text
    assert "authors' protocol" in text
    assert "25.0 to 75.0 %, 2 of 4 open" in text
    assert "150 generated" in text
    assert "1 agreed on a wrong answer" in text


def test_the_usual_entropy_of_each_reasoner_is_over_what_it_finished(describe: Describe) -> None:
    samples = [
        sample(IR, 0, "7", entropy_nats=0.1),
        sample(IR, 1, "7", entropy_nats=0.3),
        sample(IR, 2, None, finish="cancelled", entropy_nats=9.0),
        sample(KG, 0, None, entropy_nats=5.0),
        sample(DR, 0, "7"),  # of before it was measured
    ]
    found = summarise(run_of(describe(), solution(1, "7", *samples, correct=True)))
    assert found.samples.entropy_nats == {IR: pytest.approx(0.2)}
    assert json.loads(json.dumps(as_dict(found)))["samples"]["entropy_nats"] == {
        "intuitive_reasoner": 0.2
    }
    assert "intuitive reasoner: 0.200 nats of entropy a token" in as_lines(found)


def test_a_run_that_is_not_finished_says_so(describe: Describe) -> None:
    part = summarise(run_of(describe(), FOUR[0], problems=3))
    assert (part.problems, part.accuracy.problems) == (3, 1)
    assert as_lines(part)[0].startswith("1 of 3 problems solved")
    empty = summarise(run_of(describe(), problems=3))
    assert as_lines(empty) == ["0 of 3 problems solved; there is nothing to sum up yet"]
    assert as_dict(empty)["accuracy"]["percent"] is None
