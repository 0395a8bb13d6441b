"""An evaluation run that tests make, change and read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from lorid_edge.evaluation.run_description import (
    Circumstances,
    DataIdentity,
    PackIdentity,
    RunDescription,
    RunIdentity,
)
from lorid_edge.evaluation.run_folder import EvaluationProblem
from lorid_edge.loop.solution import Seconds, Settings, Solution, Status, TokenCounts
from lorid_edge.machine import Machine, Versions
from lorid_edge.packs.manifest import Sampling
from lorid_edge.roles import Role

PROBLEMS = tuple(
    EvaluationProblem(f"sums-{number}", f"What is {number}+{number}?", f"#### {2 * number}")
    for number in range(1, 5)
)


@pytest.fixture(scope="session")
def problems() -> tuple[EvaluationProblem, ...]:
    """Four problems."""
    return PROBLEMS


@pytest.fixture(scope="session")
def circumstances() -> Circumstances:
    """Those of a machine that does not exist."""
    return Circumstances(
        in_flight=8,
        threads=2,
        versions=Versions(
            lorid_edge="0.1.0",
            python="3.12.1",
            llama_cpp_python="0.3.36",
            native_library="0123456789abcdef",
        ),
        machine=Machine(
            processor="Difference Engine",
            cores=2,
            logical_cpus=2,
            memory_bytes=10**9,
            system="Brass",
        ),
        command="lorid-edge eval --pack tiny",
        when=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    )


@pytest.fixture(scope="session")
def describe(circumstances: Circumstances) -> Callable[..., RunDescription]:
    """Makes a description; keywords replace fields of its identity."""

    def make(**changes: Any) -> RunDescription:
        identity = RunIdentity(
            pack=PackIdentity(
                name="tiny",
                version="0.1.0",
                manifest_sha256="a" * 64,
                base_sha256="b" * 64,
                adapters={Role.INTUITIVE_REASONER: "c" * 64},
                bare=False,
            ),
            data=DataIdentity(
                name="sums", split="development", sha256="d" * 64, limit=4, sample_seed=0
            ),
            policy="adaptive",
            width=4,
            max_rounds=8,
            max_seconds=None,
            calculator=True,
            sampling=Sampling(),
            sequence_tokens=1024,
            seed=0,
        )
        changed = identity.model_copy(update=changes)
        return RunDescription(identity=changed, circumstances=circumstances)

    return make


@pytest.fixture(scope="session")
def solve() -> Callable[..., Solution]:
    """Makes the solution of the problem on a line; keywords replace its fields."""

    def make(line: int, **changes: Any) -> Solution:
        problem = PROBLEMS[line - 1]
        solution = Solution(
            id=problem.id,
            line=line,
            question=problem.question,
            answer=str(2 * line),
            correct=True,
            status=Status.AGREED,
            confidence=0.9,
            policy="adaptive",
            pack="tiny",
            seed=line,
            rounds=1,
            samples=(),
            tokens=TokenCounts(generated=10),
            seconds=Seconds(total=0.5),
            settings=Settings(width=4, max_rounds=8, max_seconds=None, calculator=True),
        )
        return solution.model_copy(update=changes)

    return make
