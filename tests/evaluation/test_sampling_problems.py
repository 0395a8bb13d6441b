"""Which problems are drawn, and their seeds."""

from __future__ import annotations

from lorid_edge.data.datasets import Dataset, Split
from lorid_edge.data.record import Record
from lorid_edge.evaluation.sampling_problems import draw_problems, problem_seed


def dataset(name: str = "sums", sha256: str = "a" * 64) -> Dataset:
    records = tuple(
        Record(id=f"{name}-{number}", question=f"What is {number}+1?", answer=str(number + 1))
        for number in range(100)
    )
    return Dataset(name, Split.DEVELOPMENT, records, sha256, ())


def questions(data: Dataset, limit: int | None, seed: int) -> list[str]:
    return [problem.question for problem in draw_problems(data, limit, seed)]


def test_without_a_limit_all_problems_are_taken_in_their_order() -> None:
    problems = draw_problems(dataset(), None, 7)
    assert [problem.id for problem in problems] == [f"sums-{number}" for number in range(100)]
    assert problems[4].reference == "5"


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    large = questions(dataset(), 40, 0)
    assert len(set(large)) == 40
    assert large[:10] == questions(dataset(), 10, 0)
    assert large[:10] != [f"What is {number}+1?" for number in range(10)]
    assert sorted(questions(dataset(), 1000, 0)) == sorted(questions(dataset(), None, 0))


def test_a_sample_depends_on_content_and_seed_and_not_on_the_name() -> None:
    sample = questions(dataset(), 10, 0)
    assert questions(dataset(name="other"), 10, 0) == sample
    assert questions(dataset(sha256="b" * 64), 10, 0) != sample
    assert questions(dataset(), 10, 1) != sample


def test_each_problem_has_a_seed_of_its_own() -> None:
    seeds = {problem_seed(run, f"sums-{number}") for run in range(3) for number in range(100)}
    assert len(seeds) == 300
    assert problem_seed(0, "sums-1") == problem_seed(0, "sums-1")
    assert all(0 <= seed < 2**53 for seed in seeds)  # exact in every reader of JSON
