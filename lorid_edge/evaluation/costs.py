"""What a problem cost: tokens and seconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lorid_edge.loop.solution import Solution


@dataclass(frozen=True)
class TokensPerProblem:
    """Means over problems; see `lorid_edge.loop.solution.TokenCounts`."""

    generated: float
    forced: float
    prompt: float
    cached: float


@dataclass(frozen=True)
class SecondsPerProblem:
    """Three answers to "how long", which only agree for one problem at a time.

    Attributes:
        wall: time that the run took, loading left out, divided by the problems it solved: what a
            whole data set costs. None where no session of the run noted it. With several machines
            it falls with their number.
        decoding: mean time that the machine spent in the decodes of a problem, each shared equally
            by the samples in it: what a problem costs, whatever ran beside it. It leaves out what
            happens between decodes.
        latency: mean time from a problem's start to its answer. With many problems in flight it
            includes the waiting for the others.
        latency_median: likewise, the median.
    """

    wall: float | None
    decoding: float
    latency: float
    latency_median: float


def tokens_per_problem(solutions: Sequence[Solution]) -> TokensPerProblem:
    """Mean tokens of each kind; zeros for no solutions."""
    tokens = [solution.tokens for solution in solutions]
    return TokensPerProblem(
        generated=_mean([counts.generated for counts in tokens]),
        forced=_mean([counts.forced for counts in tokens]),
        prompt=_mean([counts.prompt for counts in tokens]),
        cached=_mean([counts.cached for counts in tokens]),
    )


def seconds_per_problem(solutions: Sequence[Solution], wall: float | None) -> SecondsPerProblem:
    """The seconds of solutions; `wall` is passed through."""
    latencies = [solution.seconds.total for solution in solutions]
    return SecondsPerProblem(
        wall=wall,
        decoding=_mean([decoding_seconds(solution) for solution in solutions]),
        latency=_mean(latencies),
        latency_median=statistics.median(latencies) if latencies else 0.0,
    )


def decoding_seconds(solution: Solution) -> float:
    """The problem's share of all decodes, in seconds."""
    seconds = solution.seconds
    return seconds.intuitive_reasoner + seconds.knowledge_generator + seconds.deep_reasoner


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0
