"""Plans an evaluation run from what was asked for, and solves its problems."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from lorid_edge.data.datasets import Dataset
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import ContextOverflowError
from lorid_edge.evaluation.run_description import (
    Circumstances,
    DataIdentity,
    PackIdentity,
    RunDescription,
    RunIdentity,
)
from lorid_edge.evaluation.run_folder import EvaluationProblem, EvaluationRun
from lorid_edge.evaluation.sampling_problems import draw_problems, problem_seed
from lorid_edge.loading import LoadSettings
from lorid_edge.loop.policies import make_policy
from lorid_edge.loop.solution import Seconds, Settings, Solution, Status, TokenCounts
from lorid_edge.machine import Machine, Versions
from lorid_edge.packs.places import Places
from lorid_edge.packs.store import VerifiedPack
from lorid_edge.problems import FileProblem
from lorid_edge.roles import Role
from lorid_edge.solver import Solver, SolveSettings


@dataclass(frozen=True)
class Sample:
    """Which problems of a data set are taken; `limit` None for all."""

    limit: int | None
    seed: int


@dataclass(frozen=True)
class EvaluationPlan:
    """All that is known of a run before anything is loaded.

    Attributes:
        solving: its seed is the run's.
    """

    verified: VerifiedPack
    load: LoadSettings
    solving: SolveSettings
    identity: RunIdentity
    problems: tuple[EvaluationProblem, ...]

    def description(self, command: str) -> RunDescription:
        """What goes into run.json. Loads the native library, for its hash."""
        circumstances = Circumstances(
            in_flight=self.load.in_flight,
            threads=choose_threads(self.load.threads).threads,
            weights="packed" if self.load.weights is None else "unpacked",
            versions=Versions.here(),
            machine=Machine.here(),
            command=command,
            when=datetime.now(timezone.utc),
        )
        return RunDescription(identity=self.identity, circumstances=circumstances)

    def default_folder(self, places: Places) -> Path:
        """A folder that the same run finds again, and no other."""
        identity = self.identity
        digest = hashlib.sha256(identity.model_dump_json().encode("utf-8")).hexdigest()[:12]
        name = f"{identity.pack.name}-{identity.policy}-{identity.data.split}-{digest}"
        return places.evaluations / name


def plan_evaluation(
    verified: VerifiedPack,
    dataset: Dataset,
    sample: Sample,
    load: LoadSettings,
    solving: SolveSettings,
    *,
    bare: bool,
) -> EvaluationPlan:
    """Draw the problems and write down what the run is.

    Args:
        verified: as `lorid_edge.evaluation.variants.open_variant` gives it.
        dataset: loaded with `needs_answers`.
        bare: whether `verified` was opened so.
    """
    manifest = verified.pack.manifest
    identity = RunIdentity(
        pack=_pack_identity(verified, bare),
        data=DataIdentity(
            name=dataset.name,
            split=dataset.split.value,
            sha256=dataset.sha256,
            limit=sample.limit,
            sample_seed=sample.seed,
        ),
        policy=solving.policy,
        width=load.width,
        max_rounds=make_policy(solving.policy, load.width, solving.max_rounds).max_rounds,
        max_seconds=solving.max_seconds,
        calculator=solving.calculator,
        sampling=manifest.sampling,
        sequence_tokens=load.sequence_tokens or manifest.context.sequence_tokens,
        seed=solving.seed,
    )
    problems = draw_problems(dataset, sample.limit, sample.seed)
    return EvaluationPlan(verified, load, solving, identity, problems)


def solve_unsolved(
    solver: Solver, run: EvaluationRun, settings: SolveSettings
) -> Iterator[Solution]:
    """Solve the problems of a run that have no solution yet, and yield each as it is finished.

    Solutions are complete: with id, line, and whether they are correct. A question that is too long
    for the context counts as tried: its solution has no answer and no samples.
    """
    fitting: list[FileProblem] = []
    for line in run.unsolved:
        problem = run.problems[line - 1]
        asked = FileProblem(line, problem.question, problem.id, problem.reference)
        try:
            solver.check(problem.question)
            fitting.append(asked)
        except ContextOverflowError:
            yield asked.complete(_without_samples(run.description.identity, asked))
    seeds = [problem_seed(settings.seed, str(problem.id)) for problem in fitting]
    questions = [problem.question for problem in fitting]
    with closing(solver.solve_many(questions, settings=settings, seeds=seeds)) as solutions:
        for position, solution in solutions:
            yield fitting[position].complete(solution)


def _pack_identity(verified: VerifiedPack, bare: bool) -> PackIdentity:
    manifest = verified.pack.manifest
    content = manifest.model_dump_json(by_alias=True, exclude={"description", "results"})
    adapters = {role: manifest.roles[role].adapter for role in Role}
    return PackIdentity(
        name=manifest.name,
        version=manifest.version,
        manifest_sha256=hashlib.sha256(content.encode("utf-8")).hexdigest(),
        base_sha256=manifest.base.sha256,
        adapters={role: adapter.sha256 for role, adapter in adapters.items() if adapter},
        bare=bare,
    )


def _without_samples(identity: RunIdentity, problem: FileProblem) -> Solution:
    return Solution(
        question=problem.question,
        answer=None,
        status=Status.UNDECIDED,
        confidence=0.0,
        policy=identity.policy,
        pack=identity.pack.name,
        seed=problem_seed(identity.seed, str(problem.id)),
        rounds=0,
        samples=(),
        tokens=TokenCounts(),
        seconds=Seconds(),
        settings=Settings(
            width=identity.width,
            max_rounds=identity.max_rounds,
            max_seconds=identity.max_seconds,
            calculator=identity.calculator,
        ),
    )
