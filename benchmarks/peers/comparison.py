"""What a comparison amounts to: per side medians and totals, and ratios within the run.

Every ratio is ours divided by the peer's. Blocks of the same problems are compared in pairs, which
ran one after the other; the ratio of a comparison is the median of these.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Block:
    """What one side did with one block of problems.

    Attributes:
        seconds: by the clock, for the whole block.
        problems: for each problem what `SolvedProblem` says, its `id`, and whether it is `right`.
    """

    side: str
    round: int
    number: int
    seconds: float
    problems: tuple[dict[str, Any], ...]

    @property
    def key(self) -> tuple[str, int, int]:
        return self.side, self.round, self.number

    @property
    def tokens(self) -> int:
        return sum(map(tokens_of, self.problems))


def tokens_of(problem: dict[str, Any]) -> int:
    """The generated tokens of a problem, those of cancelled samples included."""
    return sum(sample["tokens"] for sample in problem["samples"])


def summary_of(side: str, blocks: Sequence[Block]) -> dict[str, Any]:
    """The figures of one side."""
    own = [block for block in blocks if block.side == side]
    problems = [problem for block in own for problem in block.problems]
    if not problems:
        return {"problems": 0}
    seconds, tokens = sum(block.seconds for block in own), sum(block.tokens for block in own)
    return {
        "problems": len(problems),
        "right": sum(problem["right"] for problem in problems),
        "seconds": round(seconds, 2),
        "seconds_per_problem": round(seconds / len(problems), 3),
        "seconds_to_answer_median": _median(p["seconds"] for p in problems),
        "tokens": tokens,
        "tokens_per_problem": round(tokens / len(problems), 1),
        "tokens_median": _median(map(tokens_of, problems)),
        "forced_tokens": sum(problem["forced_tokens"] for problem in problems),
        "tokens_per_second": round(tokens / seconds, 2),
        "samples_per_problem": round(statistics.fmean(len(p["samples"]) for p in problems), 2),
        "rounds_per_problem": round(statistics.fmean(p["rounds"] for p in problems), 2),
        "tokens_by_role": _by_role(problems),
    }


def ratios_of(ours: str, peer: str, blocks: Sequence[Block]) -> dict[str, Any]:
    """Ours divided by the peer's, over the blocks that both have solved."""
    mine = {block.key[1:]: block for block in blocks if block.side == ours}
    theirs = {block.key[1:]: block for block in blocks if block.side == peer}
    pairs = [(mine[key], theirs[key]) for key in mine if key in theirs]
    if not pairs:
        return {"blocks": 0}
    seconds = [a.seconds / b.seconds for a, b in pairs]
    totals = [sum(pair[i].seconds for pair in pairs) for i in (0, 1)]
    tokens = [sum(pair[i].tokens for pair in pairs) for i in (0, 1)]
    return {
        "blocks": len(pairs),
        "seconds": round(statistics.median(seconds), 4),
        "seconds_of_totals": round(totals[0] / totals[1], 4),
        "seconds_by_block": [round(ratio, 4) for ratio in seconds],
        "tokens": round(tokens[0] / tokens[1], 4) if tokens[1] else None,
        "tokens_per_second": (
            round(tokens[0] / totals[0] / (tokens[1] / totals[1]), 4) if tokens[1] else None
        ),
    }


def lines_of(summaries: dict[str, dict[str, Any]], ratios: dict[str, dict[str, Any]]) -> list[str]:
    """The report for people."""
    lines = []
    for side, figures in summaries.items():
        if figures["problems"]:
            lines.append(
                f"{side:22} {figures['seconds_per_problem']:8.2f} s a problem, "
                f"{figures['tokens_per_problem']:7.1f} tokens, "
                f"{figures['samples_per_problem']:5.2f} samples, "
                f"{figures['tokens_per_second']:7.2f} tokens/s, "
                f"{figures['right']} of {figures['problems']} right"
            )
    for name, ratio in ratios.items():
        if ratio["blocks"]:
            lines.append(
                f"{name}: {ratio['seconds']:.3f} of the seconds a problem (median of "
                f"{ratio['blocks']} pairs of blocks), {ratio['tokens']} of the tokens, "
                f"{ratio['tokens_per_second']} times the tokens per second"
            )
    return lines


def _median(values: Iterable[float]) -> float:
    return round(float(statistics.median(values)), 3)


def _by_role(problems: Sequence[dict[str, Any]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for problem in problems:
        for sample in problem["samples"]:
            total[sample["role"]] += sample["tokens"]
    return dict(total)
