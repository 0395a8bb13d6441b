"""Two runs on the same problems, against scipy where it has the statistic."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from solved import run_of, solution
from typer.testing import CliRunner

from lorid_edge.cli.main import app
from lorid_edge.errors import UsageError
from lorid_edge.evaluation.comparison import (
    compare,
    difference_interval_percent,
    mcnemar_p,
)
from lorid_edge.evaluation.run_description import Circumstances, RunDescription
from lorid_edge.evaluation.run_folder import open_run


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_p_value_is_the_sign_tests(only_a: int, only_b: int) -> None:
    tosses = only_a + only_b
    expected = binomtest(only_a, tosses).pvalue if tosses else 1.0
    assert mcnemar_p(only_a, only_b) == pytest.approx(expected)


def test_the_interval_is_that_of_resampled_problems() -> None:
    differences = np.array([-1] * 6 + [1] * 15 + [0] * 79)
    random = np.random.default_rng(5)
    means = random.choice(differences, (10_000, 100)).mean(axis=1)
    expected = 100 * np.percentile(means, (2.5, 97.5))
    found = difference_interval_percent(6, 15, 100, seed=0)
    assert found == pytest.approx(tuple(expected), abs=1.0)
    assert found == difference_interval_percent(6, 15, 100, seed=0)
    assert difference_interval_percent(0, 0, 10, seed=0) == (0.0, 0.0)


Describe = Callable[..., RunDescription]
FIRST = [solution(line, "7", correct=line in (1, 2, 3)) for line in (1, 2, 3, 4, 5)]
SECOND = [
    solution(line, "7", correct=line in (2, 3, 4), generated=50, decoding_seconds=0.25)
    for line in (5, 4, 3, 2)
]


def test_only_problems_that_both_solved_count(describe: Describe) -> None:
    found = compare(run_of(describe(), *FIRST), run_of(describe(), *SECOND, problems=6))
    assert (found.solved_a, found.solved_b, found.shared) == (5, 4, 4)
    assert (found.both_right, found.only_a, found.only_b, found.neither) == (2, 0, 1, 1)
    assert found.difference_percent == 25.0
    assert found.p_value == 1.0
    assert (found.tokens_ratio, found.seconds_ratio) == (0.5, 0.25)
    assert found.differences == ()
    low, high = found.interval_percent
    assert low <= 25.0 <= high
    assert any("B minus A: +25.0 percentage points" in line for line in found.lines())


def test_what_differs_is_said_and_times_of_other_conditions_are_not_compared(
    describe: Describe, circumstances: Circumstances
) -> None:
    first = run_of(describe(policy="vote"), *FIRST)
    crowded = circumstances.model_copy(update={"in_flight": 1})
    other = describe(policy="paper").model_copy(update={"circumstances": crowded})
    found = compare(first, run_of(other, *SECOND, problems=5))
    assert found.differences == ("policy: vote in A, paper in B",)
    assert found.seconds_ratio is None
    assert found.tokens_ratio == 0.5


def test_other_problems_are_refused(describe: Describe) -> None:
    first = run_of(describe(), *FIRST)
    with pytest.raises(UsageError, match="no solved problem in common"):
        compare(first, run_of(describe(), problems=5))
    with pytest.raises(UsageError, match="p1 has the reference answer '7' in run and '8' in other"):
        compare(first, run_of(describe(), *SECOND, problems=5, folder="other", reference="8"))
    second = run_of(describe(), *SECOND, problems=5)
    asked = (replace(second.problems[0], question="Another?"), *second.problems[1:])
    with pytest.raises(UsageError, match="another question"):
        compare(first, replace(second, problems=asked))


@pytest.fixture
def folders(tmp_path: Path, describe: Describe) -> tuple[Path, Path]:
    """Two runs on disk."""
    for name, policy, solutions in (("a", "vote", FIRST), ("b", "paper", SECOND)):
        run = run_of(describe(policy=policy), *solutions, problems=5)
        with open_run(tmp_path / name, run.description, run.problems) as writer:
            for item in solutions:
                writer.append(item)
    return tmp_path / "a", tmp_path / "b"


def test_the_command_prints_it(folders: tuple[Path, Path]) -> None:
    arguments = ["eval", "compare", *map(str, folders)]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    assert "only in A 0, only in B 1" in found.stdout
    assert "differs: policy: vote in A, paper in B" in found.stdout
    assert "not finished, 1 of 5 to be solved" in found.stderr
    as_json = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (as_json["only_b_right"], as_json["solved"]["both"]) == (1, 4)
    refused = CliRunner().invoke(app, ["eval", "compare", str(folders[0]), "nowhere"])
    assert refused.exit_code == 2
    assert "nowhere" in refused.stderr
