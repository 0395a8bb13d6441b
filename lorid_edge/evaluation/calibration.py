"""Whether problems solved with a confidence of 0.9 are right nine times of ten.

A solution's confidence is an estimate that was fitted to some problems and packs
(`lorid_edge.loop.evidence`). How far it is off on others is what is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lorid_edge.evaluation.accuracy import Accuracy

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """The problems whose confidence is at least `low` and below `high` (or, at 1, equal to it).

    Attributes:
        confidence: their mean, 0 to 1.
        accuracy: how many of them are right.
    """

    low: float
    high: float
    confidence: float
    accuracy: Accuracy


@dataclass(frozen=True)
class Calibration:
    """The reliability curve, without its empty bins, and what it comes to.

    Attributes:
        expected_error: expected calibration error, 0 to 1: the mean distance of confidence and
            accuracy, over bins weighted by their problems (Guo et al., "On Calibration of Modern
            Neural Networks", 2017). With few problems chance alone makes it larger than 0.
        overconfidence: mean confidence minus accuracy, -1 to 1.
    """

    bins: tuple[ReliabilityBin, ...]
    expected_error: float
    overconfidence: float


def calibration(judged: Sequence[tuple[float, bool]], bins: int = BINS) -> Calibration:
    """The calibration of (confidence from 0 to 1, right) pairs, in `bins` bins of equal width."""
    members: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in judged:
        members.setdefault(min(int(confidence * bins), bins - 1), []).append((confidence, right))
    curve = tuple(_bin(number, bins, members[number]) for number in sorted(members))
    total = max(1, len(judged))
    return Calibration(
        curve,
        sum(
            item.accuracy.problems * abs(item.confidence - item.accuracy.percent / 100)
            for item in curve
        )
        / total,
        sum(confidence - right for confidence, right in judged) / total,
    )


def _bin(number: int, bins: int, members: list[tuple[float, bool]]) -> ReliabilityBin:
    return ReliabilityBin(
        low=number / bins,
        high=(number + 1) / bins,
        confidence=sum(confidence for confidence, _ in members) / len(members),
        accuracy=Accuracy(sum(right for _, right in members), len(members)),
    )
