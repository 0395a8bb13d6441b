"""Runs with their summaries and names, as the parts of a report take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lorid_edge.errors import UsageError
from lorid_edge.evaluation.run_folder import EvaluationRun
from lorid_edge.evaluation.summary import Summary, summarise

MAX_RUNS = 20
"""More would not be told apart in a figure."""


@dataclass(frozen=True)
class MeasuredRun:
    """A run and what it showed.

    Attributes:
        name: what tells it from the others: its pack and policy and, if need be, its folder.
    """

    name: str
    run: EvaluationRun
    summary: Summary


def measure(runs: Sequence[EvaluationRun]) -> tuple[MeasuredRun, ...]:
    """Sum up each run and give it a name.

    Raises:
        UsageError: there are too many runs, one comes twice, or one has solved nothing yet.
    """
    if len(runs) > MAX_RUNS:
        raise UsageError(f"{len(runs)} runs are too many for one report; give at most {MAX_RUNS}.")
    twice = [folder for folder, n in Counter(run.folder.resolve() for run in runs).items() if n > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice; give each run once.")
    for run in runs:
        if not run.solutions:
            raise UsageError(
                f"{run.folder} has no solved problem yet; repeat its 'lorid-edge eval' command."
            )
    names = Counter(name(run) for run in runs for name in _NAMES)
    return tuple(
        MeasuredRun(
            next(name(run) for name in _NAMES if names[name(run)] == 1), run, summarise(run)
        )
        for run in runs
    )


def _plain_name(run: EvaluationRun) -> str:
    identity = run.description.identity
    bare = " (bare)" if identity.pack.bare else ""
    return f"{identity.pack.name}{bare} {identity.policy}"


def _long_name(run: EvaluationRun) -> str:
    return f"{_plain_name(run)}, {run.folder.resolve().name}"


def _name_with_path(run: EvaluationRun) -> str:
    return f"{_plain_name(run)}, {run.folder}"


_NAMES = (_plain_name, _long_name, _name_with_path)
"""From the shortest on; the last tells any two runs apart."""
