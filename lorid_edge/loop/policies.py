"""When to ask whom, and when to stop.

A policy is asked for the next wave of samples whenever all samples have ended, and for a verdict
whenever one has. It keeps no state: everything it needs is in the tally.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from lorid_edge.errors import UsageError
from lorid_edge.loop.evidence import Tally
from lorid_edge.loop.solution import Status
from lorid_edge.roles import Role

PAPER_SAMPLES = 20
"""Most samples of each reasoner in the published procedure."""

FIRST_THOUGHTS = 2
"""Intuitive samples in the first round of `adaptive`: the fewest that can agree."""

JOINT_SAMPLES = 2
"""Samples of both reasoners, after the first of each, before `adaptive` gives up."""

VOTE_SAMPLES = 8
"""Samples that `vote` takes the majority of, where nothing else is asked for."""

STOPPING_CONFIDENCE = 0.6
"""`adaptive` stops once its leading answer is right with this probability.

Lower loses accuracy, and higher takes tokens that hardly gain any (docs/experiments.md, 2026-11-28,
"Votes by their certainty").
"""


@dataclass(frozen=True)
class Wave:
    """How many intuitive samples and how many knowledge -> deep chains to start together."""

    intuitive: int
    deep: int


@dataclass(frozen=True)
class Verdict:
    """The end of a problem: the class of the answer, None where no sample gave any."""

    cluster: int | None
    status: Status


class Policy(ABC):
    """A stopping rule. `width` samples of a role run at once, for at most `max_rounds` rounds."""

    name: ClassVar[str]

    def __init__(self, width: int, max_rounds: int | None = None) -> None:
        self.width = width
        self.max_rounds = max_rounds or self.default_rounds()

    @abstractmethod
    def default_rounds(self) -> int:
        """Rounds allowed where the user does not say."""

    @abstractmethod
    def wave(self, round_number: int, tally: Tally) -> Wave:
        """What to start in round `round_number` (from 1)."""

    @abstractmethod
    def decide(self, tally: Tally) -> Verdict | None:
        """The verdict if the evidence suffices, else None."""

    def give_up(self, tally: Tally) -> Verdict:
        """The verdict when rounds or time have run out: the best answer so far."""
        return Verdict(tally.best(), Status.UNDECIDED)


class IntuitivePolicy(Policy):
    """`ir`: System 1 alone, one sample."""

    name = "ir"
    _wave = Wave(1, 0)

    def default_rounds(self) -> int:
        return 1

    def wave(self, round_number: int, tally: Tally) -> Wave:
        return self._wave

    def decide(self, tally: Tally) -> Verdict | None:
        leader = tally.leader()
        return None if leader is None else Verdict(leader, Status.VOTED)


class DeepPolicy(IntuitivePolicy):
    """`dr`: one chain of knowledge and deep reasoning."""

    name = "dr"
    _wave = Wave(0, 1)


class _FixedSizePolicy(Policy):
    """Asks for `own_samples` in waves of `width`, the last of them smaller where need be.

    With another number of rounds than these take, for rounds times width.
    """

    own_samples: ClassVar[int]

    def default_rounds(self) -> int:
        return math.ceil(self.own_samples / self.width)

    @property
    def most_samples(self) -> int:
        """Of a role, in all rounds."""
        if self.max_rounds == self.default_rounds():
            return self.own_samples
        return self.max_rounds * self.width

    def _wave_samples(self, round_number: int) -> int:
        return min(self.width, self.most_samples - (round_number - 1) * self.width)


class PaperPolicy(_FixedSizePolicy):
    """`paper`: stop at the first answer that both reasoners have given (LoRID, IJCAI 2025).

    Sets of answers grow by `width` of each reasoner a round (the paper: 1), at most 20 of each.
    The answer is the one that ended it. Answers are compared by value, not as strings.
    """

    name = "paper"
    own_samples = PAPER_SAMPLES

    def wave(self, round_number: int, tally: Tally) -> Wave:
        samples = self._wave_samples(round_number)
        return Wave(samples, samples)

    def decide(self, tally: Tally) -> Verdict | None:
        agreed = tally.agreed()
        return Verdict(agreed[0], Status.AGREED) if agreed else None


class VotePolicy(_FixedSizePolicy):
    """`vote`: the majority of k intuitive samples (self-consistency).

    k is 8, or rounds * width where another number of rounds is asked for. Ends before the k-th
    sample once the others cannot change the outcome.
    """

    name = "vote"
    own_samples = VOTE_SAMPLES

    def wave(self, round_number: int, tally: Tally) -> Wave:
        return Wave(self._wave_samples(round_number), 0)

    def decide(self, tally: Tally) -> Verdict | None:
        remaining = self.most_samples - tally.finished[Role.INTUITIVE_REASONER]
        leader, runner_up = tally.lead()
        if leader == 0 or (leader <= runner_up + remaining and remaining > 0):
            return None
        return Verdict(tally.ranked()[0][0], Status.VOTED)


class AdaptivePolicy(Policy):
    """`adaptive`: intuition first, deep reasoning where it is not enough, stop on evidence.

    Round 1 asks the intuitive reasoner alone, twice. As long as the leading answer is not right
    with probability `STOPPING_CONFIDENCE` (`evidence`), knowledge and deep reasoning join in, from
    round 3 on with more intuition beside them, and all answers count, each by its certainty.
    """

    name = "adaptive"

    def default_rounds(self) -> int:
        return 2 + math.ceil(JOINT_SAMPLES / self.width)

    def wave(self, round_number: int, tally: Tally) -> Wave:
        if round_number == 1:
            return Wave(FIRST_THOUGHTS, 0)
        return Wave(0 if round_number == 2 else self.width, self.width)

    def decide(self, tally: Tally) -> Verdict | None:
        leader = tally.leader()
        if leader is None or tally.confidence(leader) < STOPPING_CONFIDENCE:
            return None
        return Verdict(leader, Status.AGREED if leader in tally.agreed() else Status.VOTED)


POLICIES: dict[str, type[Policy]] = {
    policy.name: policy
    for policy in (IntuitivePolicy, DeepPolicy, PaperPolicy, VotePolicy, AdaptivePolicy)
}


def make_policy(name: str, width: int, max_rounds: int | None = None) -> Policy:
    """The policy called `name`.

    Raises:
        UsageError: there is none of that name, or a number is below 1.
    """
    if name not in POLICIES:
        raise UsageError(f"There is no policy '{name}'. Policies: {', '.join(POLICIES)}.")
    if width < 1:
        raise UsageError(f"The width is {width}; it has to be at least 1 sample a role.")
    if max_rounds is not None and max_rounds < 1:
        raise UsageError(f"The number of rounds is {max_rounds}; it has to be at least 1.")
    return POLICIES[name](width, max_rounds)
