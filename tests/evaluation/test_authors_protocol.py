"""The authors' way of counting, replayed on solutions of the policy `paper`."""

from __future__ import annotations

import pytest
from solved import DR, IR, sample, solution

from lorid_edge.answers.judging import Judge
from lorid_edge.evaluation.authors_protocol import (
    AuthorsProtocol,
    Outcome,
    authors_protocol,
    replay,
)
from lorid_edge.loop.solution import Sample, Status

REFERENCE = "7"


def outcome(*samples: Sample) -> Outcome:
    return replay(solution(1, "7", *samples, correct=True), Judge(REFERENCE))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([("7", "7")], Outcome.RIGHT),
        ([("8", "8")], Outcome.WRONG),
        ([("7", "8"), ("8", "7")], Outcome.RIGHT),  # two shared answers, one of them right
        ([("1", "2"), ("3", "4"), ("5", "3")], Outcome.WRONG),
        ([("1", None), (None, "1")], Outcome.WRONG),
        ([("7", "1")], Outcome.OPEN),  # the run ended before they shared one
    ],
)
def test_whole_iterations(answers: list[tuple[str | None, str | None]], expected: Outcome) -> None:
    samples = []
    for index, (intuitive, deep) in enumerate(answers):
        samples += [sample(IR, index, intuitive), sample(DR, index, deep)]
    assert outcome(*samples) is expected


def test_no_agreement_after_twenty_iterations_is_wrong() -> None:
    samples = [sample(IR, index, "7") for index in range(20)]
    samples += [sample(DR, index, "8") for index in range(20)]
    assert outcome(*samples) is Outcome.WRONG
    assert outcome(*samples[:-1]) is Outcome.OPEN


def test_answers_are_plain_strings() -> None:
    written = sample(DR, 0, "7", text=r"So it is \boxed{7.0}.")
    assert outcome(sample(IR, 0, "7"), written) is Outcome.OPEN


def test_what_was_cancelled_is_open_only_where_it_matters() -> None:
    # Agreed on 8 with the deep sample of iteration 2 missing; 7 has been said, so it might be 7.
    start = [sample(IR, 0, "7"), sample(DR, 0, "8"), sample(IR, 1, "8")]
    assert outcome(*start, sample(DR, 1, None, finish="cancelled")) is Outcome.OPEN
    start = [sample(IR, 0, "6"), sample(DR, 0, "8"), sample(IR, 1, "8")]
    assert outcome(*start, sample(DR, 1, None, finish="cancelled")) is Outcome.WRONG
    start = [sample(IR, 0, "6"), sample(DR, 0, "7"), sample(IR, 1, "7")]
    assert outcome(*start, sample(DR, 1, None, finish="cancelled")) is Outcome.RIGHT


def test_bounds_hold_what_is_open() -> None:
    right = solution(1, "7", sample(IR, 0, "7"), sample(DR, 0, "7"), correct=True)
    is_open = solution(2, None, correct=False, status=Status.UNDECIDED)
    judged = [(right, Judge("7")), (is_open, Judge("7"))]
    assert authors_protocol(judged) == AuthorsProtocol(right=1, wrong=0, open=1)
    assert authors_protocol(judged).bounds_percent == (50.0, 100.0)
