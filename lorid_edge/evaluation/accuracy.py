"""Accuracy and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

_QUANTILE_95 = 1.959963984540054


@dataclass(frozen=True)
class Accuracy:
    """`right` of `problems` were solved; a problem without an answer counts as wrong."""

    right: int
    problems: int

    @property
    def percent(self) -> float:
        """The share of right answers; 0 of no problems is 0."""
        return 100 * self.right / self.problems if self.problems else 0.0

    @property
    def interval_percent(self) -> tuple[float, float]:
        """The 95 % interval (Wilson), in percent."""
        low, high = wilson_interval(self.right, self.problems)
        return 100 * low, 100 * high

    def __str__(self) -> str:
        low, high = self.interval_percent
        return f"{self.percent:.1f} % ({low:.1f} to {high:.1f}), {self.right} of {self.problems}"


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion (Wilson, without continuity correction).

    Returns:
        low and high, 0 to 1; (0, 1) for no trials.
    """
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, _QUANTILE_95**2
    centre = share + square / (2 * trials)
    spread = _QUANTILE_95 * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    scale = 1 + square / trials
    # At the ends one bound is exact, and rounding would put it just beside.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high
