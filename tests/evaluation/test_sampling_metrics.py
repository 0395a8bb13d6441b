"""pass@k and majority@k against all subsets, and which samples count."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solved import DR, IR, sample, solution

from lorid_edge.answers.judging import Judge
from lorid_edge.evaluation.sampling_metrics import (
    Draws,
    at_each_k,
    majority_at_k,
    pass_at_k,
)

RIGHT = "right"
answers_drawn = st.lists(st.sampled_from([RIGHT, "a", "b", "c", None]), min_size=1, max_size=7)


def draws_of(answers: list[str | None]) -> Draws:
    counts = Counter(answers)
    wrong = tuple(counts[name] for name in ("a", "b", "c") if counts[name])
    return Draws(len(answers), counts[RIGHT], wrong)


def vote_share(answers: tuple[str | None, ...]) -> float:
    """1 where the right answer leads alone, a share of it where it ties, else 0."""
    votes = Counter(answer for answer in answers if answer is not None)
    most = max(votes.values(), default=0)
    leaders = [answer for answer, count in votes.items() if count == most]
    return 1 / len(leaders) if RIGHT in leaders else 0.0


@given(answers_drawn, st.data())
def test_both_metrics_are_means_over_all_subsets(
    answers: list[str | None], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(answers)))
    subsets = list(itertools.combinations(answers, k))
    passed = sum(RIGHT in subset for subset in subsets) / len(subsets)
    voted = sum(vote_share(subset) for subset in subsets) / len(subsets)
    assert pass_at_k(draws_of(answers), k) == pytest.approx(passed)
    assert majority_at_k(draws_of(answers), k) == pytest.approx(voted)


@given(answers_drawn)
def test_more_samples_pass_more_often_and_one_votes_as_it_passes(
    answers: list[str | None],
) -> None:
    draws = draws_of(answers)
    shares = [pass_at_k(draws, k) for k in range(1, len(answers) + 1)]
    assert shares == sorted(shares)
    assert majority_at_k(draws, 1) == pytest.approx(shares[0])
    assert all(majority_at_k(draws, k) <= shares[k - 1] + 1e-12 for k in range(1, len(shares) + 1))


@pytest.mark.parametrize("k", [0, 4])
def test_a_k_without_samples_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="from 1 to the 3 samples"):
        pass_at_k(Draws(3, 1), k)


def test_only_samples_that_every_problem_finished_count() -> None:
    easy = solution(1, "7", sample(IR, 0, "7"), sample(IR, 1, "8"), correct=True)
    hard = solution(
        2,
        "1",
        sample(IR, 2, "3"),
        sample(IR, 0, "1"),
        sample(IR, 1, "2"),
        sample(IR, 3, None, finish="cancelled"),
        sample(DR, 0, "2"),
        correct=False,
    )
    judged = [(easy, Judge("7")), (hard, Judge("#### 2"))]
    first, second = at_each_k(judged, IR)  # the hard problem's third sample has no counterpart
    assert (first.k, first.pass_share) == (1, 0.5)
    assert (second.k, second.pass_share, second.majority_share) == (2, 1.0, 0.5)
    assert at_each_k(judged, DR) == ()


def test_a_cancelled_sample_ends_what_counts() -> None:
    problem = solution(
        1, "7", sample(IR, 0, None, finish="cancelled"), sample(IR, 1, "7"), correct=True
    )
    assert at_each_k([(problem, Judge("7"))], IR) == ()


def test_a_sample_cut_at_its_limit_counts_as_one_without_an_answer() -> None:
    problem = solution(1, None, sample(IR, 0, None, finish="length"), correct=False)
    (only,) = at_each_k([(problem, Judge("7"))], IR)
    assert (only.pass_share, only.majority_share) == (0.0, 0.0)
    assert at_each_k([], IR) == ()


def test_a_problem_that_was_never_asked_is_solved_by_no_k() -> None:
    asked = solution(1, "7", sample(IR, 0, "7"), correct=True)
    too_long = solution(2, None, correct=False, rounds=0)
    (only,) = at_each_k([(asked, Judge("7")), (too_long, Judge("7"))], IR)
    assert (only.pass_share, only.majority_share) == (0.5, 0.5)
