"""Which stopping rule is worth its tokens: rules played on the same recorded draws.

    python benchmarks/stopping_rules.py draw --pack small --problems 250 --run build/draws
    python benchmarks/stopping_rules.py play --run build/draws --doubt 3

`draw` solves problems of GSM8K's development split with 8 intuitive samples and 4 chains of
knowledge and deep reasoning each, whatever they say; it goes on where it was stopped. `play` lets
rules choose among these draws without a model: each problem's draws are independent, so that every
rule sees them in many random orders, the same for all rules, and what it is worth on a problem is
the mean over the orders. A chain's length is its tokens; what a verdict cancels has grown as far as
the sample that brought it. The weight of a chain's vote follows from its entropy and from the mean
entropy of its role in these draws, which is shown; `--doubt` is the pack's. The last line of
standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from counted_votes import CountedPolicy
from numpy.typing import NDArray
from scipy.stats import bootstrap

from lorid_edge.answers import AnswerClusters
from lorid_edge.answers.judging import Judge
from lorid_edge.cli.main import app
from lorid_edge.evaluation.run_folder import read_run
from lorid_edge.evaluation.summary import summarise as summarise_run
from lorid_edge.loop.evidence import DOUBT, Tally, vote_weight
from lorid_edge.loop.policies import (
    POLICIES,
    AdaptivePolicy,
    PaperPolicy,
    Policy,
    Verdict,
    VotePolicy,
    Wave,
)
from lorid_edge.loop.solution import Sample, Status
from lorid_edge.roles import Role

IR, DR = Role.INTUITIVE_REASONER, Role.DEEP_REASONER
DRAWS = {IR: 8, DR: 4}
DRAW_ROUNDS = 4
NEVER = 2.0
"""A confidence that no answer reaches."""

Outcomes = NDArray[np.float64]
"""Problems by three: share right, tokens, rounds."""


@dataclass(frozen=True)
class Draw:
    """One sample: its class of answers (None without an answer), tokens with those of its
    knowledge, and the weight of its vote."""

    role: Role
    cluster: int | None
    tokens: int
    weight: float = 1.0


@dataclass(frozen=True)
class DrawnProblem:
    """All draws of one problem, and the classes of answers that are right."""

    draws: dict[Role, list[Draw]]
    right: frozenset[int]


class DrawAll(Policy):
    """Takes every draw and never decides: what `draw` runs."""

    name = "draw"

    def default_rounds(self) -> int:
        return DRAW_ROUNDS

    def wave(self, round_number: int, tally: Tally) -> Wave:
        return Wave(DRAWS[IR] // DRAW_ROUNDS, DRAWS[DR] // DRAW_ROUNDS)

    def decide(self, tally: Tally) -> Verdict | None:
        return None


class Rule(Policy):
    """Given waves in turn, until the leading answer is right with a given probability."""

    name = "rule"

    def __init__(self, waves: Sequence[Wave], confidence: float) -> None:
        super().__init__(width=1, max_rounds=len(waves))
        self._waves, self._confidence = waves, confidence

    def default_rounds(self) -> int:
        return len(self._waves)

    def wave(self, round_number: int, tally: Tally) -> Wave:
        return self._waves[round_number - 1]

    def decide(self, tally: Tally) -> Verdict | None:
        leader = tally.leader()
        if tally.confidence(leader) < self._confidence:
            return None
        return Verdict(leader, Status.VOTED)


class GivenClusters:
    """Stands in for `AnswerClusters` where the class of an answer is known: its number."""

    def add(self, cluster: str) -> int:
        return int(cluster)


def rules() -> dict[str, Policy]:
    """What is played: votes, the shipped policy, the same counting, and others by their waves."""
    two, one, deep, both = Wave(2, 0), Wave(1, 0), Wave(0, 1), Wave(1, 1)
    found: dict[str, Policy] = {f"vote {k}": VotePolicy(1, k) for k in range(1, DRAWS[IR] + 1)}
    found |= {f"weighed vote {k}": Rule([one] * k, NEVER) for k in range(1, DRAWS[IR] + 1)}
    found |= {
        "weighed 4 deep": Rule([deep] * 4, NEVER),
        "weighed 4 of both": Rule([both] * 4, NEVER),
    }
    found |= {"paper, 4 rounds": PaperPolicy(1, DRAWS[DR])}
    found |= {f"adaptive, {n} rounds": AdaptivePolicy(1, n) for n in range(1, 6)}
    found |= {f"counted, {n} rounds": CountedPolicy(1, n) for n in range(1, 6)}
    patterns = {
        "i i, then i": [two] + [one] * 6,
        "i i, i, then d": [two, one] + [deep] * 4,
        "i i, then d": [two] + [deep] * 4,
        "i i, d d, then both": [two, Wave(0, 2), both, both],
        "i i i, then both": [Wave(3, 0), both, both, both],
        "i, d, then both": [one, deep, both, both, both],
        "d, i, then both": [deep, one, both, both, both],
        "d, i in turns": [deep, one] * 4,
        "d alone": [deep] * 4,
        "both": [both] * 4,
    }
    for label, waves in patterns.items():
        for rounds in range(2, len(waves) + 1):
            for confidence in (0.5, 0.6, 0.7, 0.8):
                found[f"{label}; {rounds} rounds, {confidence}"] = Rule(waves[:rounds], confidence)
    return found


def main() -> None:
    arguments = parse_arguments()
    if arguments.step == "draw":
        POLICIES[DrawAll.name] = DrawAll
        options = ["eval", "--data", "gsm8k", "--policy", DrawAll.name, "--width", "1"]
        options += ["--pack", arguments.pack, "--limit", str(arguments.problems)]
        options += ["--in-flight", str(arguments.in_flight), "--run", str(arguments.run)]
        app(options)
        return
    problems = read_draws(arguments.run)
    rows = play_all(rules(), problems, arguments.orders, arguments.doubt)
    for row in rows:
        print(describe(row))
    print(json.dumps({"problems": len(problems), "orders": arguments.orders, "rules": rows}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    draw = steps.add_parser("draw", help="record the draws")
    draw.add_argument("--pack", default="small")
    draw.add_argument("--problems", type=int, default=250)
    draw.add_argument("--in-flight", type=int, default=24)
    play = steps.add_parser("play", help="play rules on them")
    play.add_argument(
        "--orders", type=int, default=50, help="random orders of each problem's draws"
    )
    play.add_argument("--doubt", type=float, default=DOUBT, help="see loop/evidence.py")
    for step in (draw, play):
        step.add_argument("--run", type=Path, default=Path("build/draws"))
    return parser.parse_args()


def read_draws(run: Path) -> list[DrawnProblem]:
    """The problems of a run that have all draws."""
    drawn = read_run(run)
    usual = summarise_run(drawn).samples.entropy_nats
    print("usual entropy:", {role.value: round(nats, 3) for role, nats in usual.items()})
    return [
        drawn_problem(solution.samples, Judge(drawn.problems[line - 1].reference), usual)
        for line, solution in drawn.solutions.items()
    ]


def drawn_problem(
    samples: Sequence[Sample], judge: Judge, usual: Mapping[Role, float]
) -> DrawnProblem:
    clusters = AnswerClusters()
    knowledge = {s.index: s.tokens for s in samples if s.role is Role.KNOWLEDGE_GENERATOR}
    draws: dict[Role, list[Draw]] = {IR: [], DR: []}
    for sample in samples:
        if sample.role not in draws:
            continue
        cluster = clusters.add(sample.answer) if sample.answer and sample.is_vote else None
        before = knowledge[sample.index] if sample.role is DR else 0
        weight = vote_weight(sample.entropy_nats, usual.get(sample.role))
        draws[sample.role].append(Draw(sample.role, cluster, before + sample.tokens, weight))
    right = {i for i, answer in enumerate(clusters.representatives) if judge.is_right(answer)}
    return DrawnProblem(draws, frozenset(right))


def play_all(
    rules: dict[str, Policy], problems: list[DrawnProblem], orders: int, doubt: float = DOUBT
) -> list[dict[str, Any]]:
    """A row a rule, in the order of tokens."""
    means = {label: play_one(policy, problems, orders, doubt) for label, policy in rules.items()}
    votes = [means[label] for label in rules if label.startswith("vote")]
    rows = [summarise(label, mean, votes) for label, mean in means.items()]
    return sorted(rows, key=lambda row: float(row["tokens_per_problem"]))


def play_one(
    policy: Policy, problems: list[DrawnProblem], orders: int, doubt: float = DOUBT
) -> Outcomes:
    """For each problem, over random orders: share of right answers, mean tokens, mean rounds."""
    shuffler = random.Random(0)  # the same orders for every rule
    outcomes = np.zeros((len(problems), 3))
    for i, problem in enumerate(problems):
        for _ in range(orders):
            draws = {role: shuffler.sample(some, len(some)) for role, some in problem.draws.items()}
            outcomes[i] += play(policy, draws, problem.right, doubt)
    return outcomes / orders


def summarise(label: str, outcomes: Outcomes, votes: list[Outcomes]) -> dict[str, Any]:
    """Means of a rule, and its gain over a vote of as many tokens, with intervals of 95 %."""
    right, tokens, rounds = outcomes.T
    gain = right - vote_of(float(tokens.mean()), votes)
    row: dict[str, Any] = {"rule": label}
    row |= interval_percent("right", right) | interval_percent("gain_over_vote", gain)
    row["tokens_per_problem"] = round(float(tokens.mean()), 1)
    row["rounds_per_problem"] = round(float(rounds.mean()), 2)
    return row


def vote_of(tokens: float, votes: list[Outcomes]) -> NDArray[np.float64]:
    """Share of right answers, by problem, of a vote of `tokens`: between those of two sizes."""
    lengths = np.array([vote[:, 1].mean() for vote in votes])
    upper = int(np.clip(np.searchsorted(lengths, tokens), 1, len(votes) - 1))
    span = lengths[upper] - lengths[upper - 1]
    weight = float(np.clip((tokens - lengths[upper - 1]) / span, 0, 1))
    return (1 - weight) * votes[upper - 1][:, 0] + weight * votes[upper][:, 0]


def interval_percent(name: str, values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean of a share by problem in percent, with the bootstrap's interval over problems."""
    mean = round(100 * float(values.mean()), 2)
    if np.ptp(values) == 0:
        return {f"{name}_percent": mean, f"{name}_low": mean, f"{name}_high": mean}
    interval = bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(0)
    ).confidence_interval
    return {
        f"{name}_percent": mean,
        f"{name}_low": round(100 * float(interval.low), 1),
        f"{name}_high": round(100 * float(interval.high), 1),
    }


def play(
    policy: Policy, draws: dict[Role, list[Draw]], right: frozenset[int], doubt: float = DOUBT
) -> tuple[bool, int, int]:
    """Whether a policy ends right on draws in a given order; its tokens and rounds."""
    tally = Tally(doubt, cast(AnswerClusters, GivenClusters()))
    used = dict.fromkeys(draws, 0)
    tokens = 0
    for round_number in range(1, policy.max_rounds + 1):
        wave = policy.wave(round_number, tally)
        running: list[Draw] = []
        for role, count in ((IR, wave.intuitive), (DR, wave.deep)):
            running += draws[role][used[role] : used[role] + count]
            used[role] += count
        assert len(running) == wave.intuitive + wave.deep, "the rule asks for more than was drawn"
        running.sort(key=lambda draw: draw.tokens)
        for position, draw in enumerate(running):
            tokens += draw.tokens
            answer = None if draw.cluster is None else str(draw.cluster)
            tally.add(draw.role, answer, draw.weight)
            verdict = policy.decide(tally)
            if verdict is not None:
                tokens += draw.tokens * (len(running) - position - 1)
                return verdict.cluster in right, tokens, round_number
    return policy.give_up(tally).cluster in right, tokens, policy.max_rounds


def describe(row: dict[str, Any]) -> str:
    return (
        f"{row['rule']:40} {row['right_percent']:5.1f} % right "
        f"({row['right_low']:.1f} to {row['right_high']:.1f}), "
        f"{row['tokens_per_problem']:5.0f} tokens, {row['rounds_per_problem']:.1f} rounds, "
        f"{row['gain_over_vote_percent']:+.1f} points over a vote of as many "
        f"({row['gain_over_vote_low']:+.1f} to {row['gain_over_vote_high']:+.1f})"
    )


if __name__ == "__main__":
    main()
