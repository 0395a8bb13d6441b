"""Which problems of a data set a run takes, and the seed of each."""

from __future__ import annotations

import hashlib

from lorid_edge.data.datasets import Dataset
from lorid_edge.evaluation.run_folder import EvaluationProblem

_SEED_BYTES = 6


def draw_problems(
    dataset: Dataset, limit: int | None, sample_seed: int
) -> tuple[EvaluationProblem, ...]:
    """A random sample of a data set, or all of it in its own order if `limit` is None.

    The sample depends on the data's content, on `limit` and on `sample_seed` alone; with the same
    seed, a smaller one is the beginning of a larger one. One as large as the data set, or larger,
    is all of it in another order.
    """
    records = list(dataset.records)
    if limit is not None:
        # By hashes and not by `random`, whose samples may change between versions of Python.
        keys = {
            record.id: _digest(f"{sample_seed} {dataset.sha256} {position}")
            for position, record in enumerate(records)
        }
        records = sorted(records, key=lambda record: keys[record.id])[:limit]
    return tuple(
        EvaluationProblem(record.id, record.question, record.answer)
        for record in records
        if record.answer is not None
    )


def problem_seed(run_seed: int, problem_id: str) -> int:
    """The seed of one problem: the same whatever other problems are in the run."""
    return int.from_bytes(_digest(f"{run_seed} {problem_id}")[:_SEED_BYTES], "big")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
