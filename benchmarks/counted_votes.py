"""`adaptive` with all votes alike, for sides that do not tell how sure a model was of its tokens.

It stops once the leading answer is, with a given probability, the one that further samples would
give most often: between the leader's a votes and the runner-up's b, with a uniform prior, the
leader's share p of them is distributed as Beta(a + 1, b + 1), and the probability is P(p > 1/2).

Source: the Beta stopping criterion of Aggarwal, Madaan, Yang and Mausam, "Let's Sample Step by
Step: Adaptive-Consistency for Efficient Reasoning and Coding with LLMs", EMNLP 2023.
"""

from __future__ import annotations

import math

from lorid_edge.loop.evidence import Tally
from lorid_edge.loop.policies import POLICIES, AdaptivePolicy, Verdict
from lorid_edge.loop.solution import Status

STOPPING_PROBABILITY = 0.8
"""Two votes against none give 0.875, three against one 0.8125, two against one 0.6875."""


class CountedPolicy(AdaptivePolicy):
    """`counted`: asks as `adaptive` does, and counts votes instead of weighing them."""

    name = "counted"

    def decide(self, tally: Tally) -> Verdict | None:
        if probability_of_lead(*tally.lead()) < STOPPING_PROBABILITY:
            return None
        leader = tally.ranked()[0][0]
        return Verdict(leader, Status.AGREED if leader in tally.agreed() else Status.VOTED)

    def give_up(self, tally: Tally) -> Verdict:
        ranked = tally.ranked()
        return Verdict(ranked[0][0] if ranked else tally.best(), Status.UNDECIDED)


def probability_of_lead(leader: int, runner_up: int) -> float:
    """Posterior probability that the leading answer is the mode: P(p > 1/2), 0.5 to 1.

    With whole votes, Beta's upper tail at 1/2 equals a binomial sum: the chance of at most
    `leader` heads in leader + runner_up + 1 fair tosses.
    """
    tosses = leader + runner_up + 1
    favourable = sum(math.comb(tosses, heads) for heads in range(leader + 1))
    return float(favourable / 2**tosses)


POLICIES[CountedPolicy.name] = CountedPolicy
