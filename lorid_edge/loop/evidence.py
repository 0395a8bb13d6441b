"""How sure the votes make us.

Samples of one problem are draws from an unknown distribution over answers. What voting can find is
its mode. Between the leading answer and the runner-up, with a uniform prior on the share p of
draws that fall on the leader among those two, a and b votes give p ~ Beta(a + 1, b + 1), and the
leader is the mode with probability P(p > 1/2).

Source: the Beta stopping criterion of Aggarwal, Madaan, Yang and Mausam, "Let's Sample Step by
Step: Adaptive-Consistency for Efficient Reasoning and Coding with LLMs", EMNLP 2023.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from lorid_edge.answers import AnswerClusters
from lorid_edge.roles import Role


def probability_of_lead(leader: int, runner_up: int) -> float:
    """Posterior probability that the leading answer is the mode: P(p > 1/2), 0.5 to 1.

    With whole votes, Beta's upper tail at 1/2 equals a binomial sum: the chance of at most
    `leader` heads in leader + runner_up + 1 fair tosses.
    """
    tosses = leader + runner_up + 1
    favourable = sum(math.comb(tosses, heads) for heads in range(leader + 1))
    return float(favourable / 2**tosses)


@dataclass
class Tally:
    """The answers given so far, grouped into equal ones.

    Attributes:
        votes: for each reasoner, the number of samples on each answer class.
        asked: the same of answers that a chain gave at its limit because it was asked: no votes.
            Of 27 such answers of standard on MATH two were right (docs/experiments.md).
        finished: for each reasoner, the samples that ended, with an answer or without.
    """

    clusters: AnswerClusters = field(default_factory=AnswerClusters)
    votes: dict[Role, Counter[int]] = field(
        default_factory=lambda: {
            Role.INTUITIVE_REASONER: Counter(),
            Role.DEEP_REASONER: Counter(),
        }
    )
    asked: Counter[int] = field(default_factory=Counter)
    finished: Counter[Role] = field(default_factory=Counter)

    def add(self, role: Role, answer: str | None, *, asked: bool = False) -> None:
        """Count a finished sample.

        Args:
            answer: None where it stated none.
            asked: it was at its limit, and the answer had to be asked for.
        """
        self.finished[role] += 1
        if answer is not None:
            votes = self.asked if asked else self.votes[role]
            votes[self.clusters.add(answer)] += 1

    def ranked(self) -> list[tuple[int, int]]:
        """(class, votes) by votes; ties go to what both reasoners said, then to the earlier."""
        total = self.votes[Role.INTUITIVE_REASONER] + self.votes[Role.DEEP_REASONER]
        agreed = set(self.agreed())
        order = sorted(total, key=lambda item: (-total[item], item not in agreed, item))
        return [(item, total[item]) for item in order]

    def best(self) -> int | None:
        """The class to give where no rule holds: the leader; without votes, one asked for."""
        ranked = self.ranked() or self.asked.most_common(1)
        return ranked[0][0] if ranked else None

    def lead(self) -> tuple[int, int]:
        """Votes of the leading answer and of the runner-up."""
        counts = [votes for _, votes in self.ranked()[:2]] + [0, 0]
        return counts[0], counts[1]

    def confidence(self) -> float:
        """`probability_of_lead` for the answers so far; 0 where there is none."""
        leader, runner_up = self.lead()
        return probability_of_lead(leader, runner_up) if leader else 0.0

    def agreed(self) -> list[int]:
        """The classes that both reasoners have given, oldest first."""
        intuitive, deep = self.votes.values()
        return sorted(intuitive.keys() & deep.keys())

    def answer(self, cluster: int) -> str:
        """The normalised answer of a class."""
        return self.clusters.representatives[cluster]
