"""pass@k and majority@k of a reasoner, from the samples that a run drew.

Samples of one reasoner of one problem are independent draws from one distribution: each has a seed
of its own, and each deep chain knowledge of its own. Samples of the two reasoners are not draws
from the same distribution, so they are never mixed here.

A policy stops sampling when it likes what it sees, so the number of samples depends on what they
said: hard problems have more. And what is cancelled then is what was longest. Estimates over
whatever finished would be biased. Only the first m samples of every problem, by their number, are
therefore counted, where m is the largest number for which *every* problem finished all of them:
a sample of one size, which no problem's outcome chose. Where that is none, nothing is reported.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lorid_edge.answers.judging import Judge
from lorid_edge.loop.solution import Solution
from lorid_edge.roles import Role

REASONERS = (Role.INTUITIVE_REASONER, Role.DEEP_REASONER)


@dataclass(frozen=True)
class Draws:
    """The first samples of one reasoner of one problem, as far as voting and judging see them.

    Attributes:
        samples: how many; those that stated no answer are among them.
        right: how many of them gave the right answer.
        wrong: for each wrong answer, how many gave it.
    """

    samples: int
    right: int
    wrong: tuple[int, ...] = ()


@dataclass(frozen=True)
class AtK:
    """What k samples of a reasoner are worth, as shares from 0 to 1 over all problems.

    Attributes:
        pass_share: at least one of k is right.
        majority_share: the commonest answer of k is right; of equally common ones, one is drawn.
    """

    k: int
    pass_share: float
    majority_share: float


def pass_at_k(draws: Draws, k: int) -> float:
    """The chance that at least one of k of these samples is right, 0 to 1; unbiased.

    Source: Chen et al., "Evaluating Large Language Models Trained on Code", 2021, equation 1.
    """
    _require_k(draws, k)
    return 1.0 - math.comb(draws.samples - draws.right, k) / math.comb(draws.samples, k)


def majority_at_k(draws: Draws, k: int) -> float:
    """The chance that the vote of k of these samples, drawn without replacement, is right.

    A sample without an answer takes a place and no vote. The mean over all subsets of k, counted
    instead of listed: for each number of right votes, the ways to fill the other places with no
    wrong answer above it.
    """
    _require_k(draws, k)
    without_answer = draws.samples - draws.right - sum(draws.wrong)
    favourable = 0.0
    for votes in range(1, min(draws.right, k) + 1):
        ways = _ways_below(draws.wrong, votes, without_answer, k - votes)
        favourable += math.comb(draws.right, votes) * sum(
            count / (1 + ties) for ties, count in ways.items()
        )
    return favourable / math.comb(draws.samples, k)


def at_each_k(solutions: Iterable[tuple[Solution, Judge]], role: Role) -> tuple[AtK, ...]:
    """Both metrics for k from 1 to the number of samples that every problem has; () for none.

    A problem that was never asked, because it is too long for the context, is not solved by any k.
    """
    answers, never_asked = [], 0
    for solution, judge in solutions:
        if solution.rounds:
            answers.append((_first_answers(solution, role), judge))
        else:
            never_asked += 1
    size = min((len(first) for first, _ in answers), default=0)
    draws = [_draws(first[:size], judge) for first, judge in answers]
    problems = len(draws) + never_asked
    return tuple(
        AtK(
            k,
            sum(pass_at_k(drawn, k) for drawn in draws) / problems,
            sum(majority_at_k(drawn, k) for drawn in draws) / problems,
        )
        for k in range(1, size + 1)
    )


def _require_k(draws: Draws, k: int) -> None:
    if not 1 <= k <= draws.samples:
        raise ValueError(f"k is {k}; it has to be from 1 to the {draws.samples} samples")


def _ways_below(
    wrong: Sequence[int], votes: int, without_answer: int, places: int
) -> dict[int, int]:
    """For each number of wrong answers that tie with `votes`, the ways to fill all `places`.

    No wrong answer may get more than `votes`.
    """
    ways = Counter({(filled, 0): math.comb(without_answer, filled) for filled in range(places + 1)})
    for available in wrong:
        extended: Counter[tuple[int, int]] = Counter()
        for (filled, ties), count in ways.items():
            for taken in range(min(available, votes, places - filled) + 1):
                state = filled + taken, ties + (taken == votes)
                extended[state] += count * math.comb(available, taken)
        ways = extended
    return {ties: count for (filled, ties), count in ways.items() if filled == places}


def _first_answers(solution: Solution, role: Role) -> list[str | None]:
    """The answers of the role's samples by number, up to the first that did not finish."""
    finished = {
        sample.index: sample.answer if sample.is_vote else None
        for sample in solution.samples
        if sample.role is role and sample.finish != "cancelled"
    }
    answers: list[str | None] = []
    while len(answers) in finished:
        answers.append(finished[len(answers)])
    return answers


def _draws(answers: Sequence[str | None], judge: Judge) -> Draws:
    from lorid_edge.answers import AnswerClusters

    clusters, wrong, right = AnswerClusters(), Counter[int](), 0
    for answer in answers:
        if answer is None:
            continue
        if judge.is_right(answer):
            right += 1
        else:
            wrong[clusters.add(answer)] += 1
    return Draws(len(answers), right, tuple(wrong.values()))
