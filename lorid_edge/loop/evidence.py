"""How much the answers so far say: which one leads, and how likely it is right.

Every chain that came to an answer of its own is a vote for it, but votes do not weigh alike. A
model is right far more often where it writes without hesitation: of the intuitive chains of small,
the tenth with the lowest entropy was right in 88 %, the tenth with the highest in 6 %
(docs/experiments.md, 2026-11-28, "Votes by their certainty"). So a chain's weight falls with the
mean entropy of its tokens. What is known of an answer is the weight of its chains beside that of
all others and of a doubt that stays: that the right answer has not been given yet.

Weighting votes by a model's own certainty follows Taubenfeld et al., "Confidence Improves
Self-Consistency in LLMs", Findings of ACL 2025; the form and its constants are this project's,
fitted to development problems.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from lorid_edge.answers import AnswerClusters
from lorid_edge.roles import Role

STEEPNESS = 1.25
"""How fast a vote's weight falls with its entropy, in multiples of what is usual."""

RETURNS = 1.5
"""The power of an answer's weight that counts. Above 1: that chains repeat an answer says more than
any of them alone."""

DOUBT = 2.0
"""What speaks for an answer that no chain has given, in the same measure, where a pack does not
say: the less often its single chains are right, the more."""

USUAL_ENTROPY_NATS = 0.2
"""The usual entropy of a chain where a pack does not say."""


def vote_weight(entropy_nats: float | None, usual_nats: float | None) -> float:
    """The weight of one chain's answer: 1 for a chain as sure as is usual.

    Args:
        entropy_nats: mean entropy of the chain's tokens; None if it is not known.
        usual_nats: what is usual for the role in this pack; None for `USUAL_ENTROPY_NATS`.
    """
    if entropy_nats is None:
        return 1.0
    return math.exp(STEEPNESS * (1 - entropy_nats / (usual_nats or USUAL_ENTROPY_NATS)))


@dataclass
class Tally:
    """The answers given so far, grouped into equal ones.

    Attributes:
        doubt: see `DOUBT`.
        votes: for each reasoner, the number of samples on each answer class.
        weights: the weight of each class that has votes.
        asked: the number of samples that gave a class at their limit because they were asked: no
            votes. Of 27 such answers of standard on MATH two were right (docs/experiments.md).
        finished: for each reasoner, the samples that ended, with an answer or without.
    """

    doubt: float = DOUBT
    clusters: AnswerClusters = field(default_factory=AnswerClusters)
    votes: dict[Role, Counter[int]] = field(
        default_factory=lambda: {
            Role.INTUITIVE_REASONER: Counter(),
            Role.DEEP_REASONER: Counter(),
        }
    )
    weights: dict[int, float] = field(default_factory=dict)
    asked: Counter[int] = field(default_factory=Counter)
    finished: Counter[Role] = field(default_factory=Counter)

    def add(
        self, role: Role, answer: str | None, weight: float = 1.0, *, asked: bool = False
    ) -> None:
        """Count a finished sample.

        Args:
            answer: None where it stated none.
            weight: see `vote_weight`.
            asked: it was at its limit, and the answer had to be asked for.
        """
        self.finished[role] += 1
        if answer is None:
            return
        cluster = self.clusters.add(answer)
        if asked:
            self.asked[cluster] += 1
            return
        self.votes[role][cluster] += 1
        self.weights[cluster] = self.weights.get(cluster, 0.0) + weight

    def ranked(self) -> list[tuple[int, int]]:
        """(class, votes) by their number; ties go to the heavier, then to the earlier."""
        total = self.votes[Role.INTUITIVE_REASONER] + self.votes[Role.DEEP_REASONER]
        order = sorted(total, key=lambda item: (-total[item], -self.weights[item], item))
        return [(item, total[item]) for item in order]

    def lead(self) -> tuple[int, int]:
        """Votes of the answer with most of them and of the runner-up."""
        counts = [votes for _, votes in self.ranked()[:2]] + [0, 0]
        return counts[0], counts[1]

    def leader(self) -> int | None:
        """The class of the greatest weight; of equal ones the earliest; None without votes."""
        return min(self.weights, key=lambda item: (-self.weights[item], item), default=None)

    def best(self) -> int | None:
        """The class to give where no rule holds: the leader; without votes, one asked for."""
        leader = self.leader()
        if leader is None and self.asked:
            return self.asked.most_common(1)[0][0]
        return leader

    def confidence(self, cluster: int | None) -> float:
        """How likely a class is right, 0 to 1; 0 for one without votes, and for None.

        Fitted to GSM8K's development split; elsewhere it tells which of two answers to trust more,
        and less how often they are right.
        """
        if cluster is None or cluster not in self.weights:
            return 0.0
        evidence = {item: math.pow(weight, RETURNS) for item, weight in self.weights.items()}
        return evidence[cluster] / (sum(evidence.values()) + self.doubt)

    def agreed(self) -> list[int]:
        """The classes that both reasoners have given, oldest first."""
        intuitive, deep = self.votes.values()
        return sorted(intuitive.keys() & deep.keys())

    def answer(self, cluster: int) -> str:
        """The normalised answer of a class."""
        return self.clusters.representatives[cluster]
