"""Plans an evaluation run from what was asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from lorid_edge.data.datasets import Dataset
from lorid_edge.engine.threads import choose_threads
from lorid_edge.evaluation.run_description import (
    Circumstances,
    DataIdentity,
    PackIdentity,
    RunDescription,
    RunIdentity,
)
from lorid_edge.evaluation.run_folder import EvaluationProblem, EvaluationRun
from lorid_edge.evaluation.sampling_problems import draw_problems
from lorid_edge.loading import LoadSettings
from lorid_edge.loop.policies import make_policy
from lorid_edge.machine import Machine, Versions
from lorid_edge.packs.places import Places
from lorid_edge.packs.store import VerifiedPack
from lorid_edge.problems import FileProblem
from lorid_edge.roles import Role
from lorid_edge.solver import SolveSettings


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

    def description(
        self, command: str, engine: Literal["local", "ray"] = "local"
    ) -> RunDescription:
        """What goes into run.json. Loads the native library, for its hash."""
        circumstances = Circumstances(
            in_flight=self.load.in_flight,
            threads=choose_threads(self.load.threads).threads,
            engine=engine,
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
        pack=pack_identity(verified, bare),
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


def unsolved_problems(run: EvaluationRun) -> list[FileProblem]:
    """The problems of a run that have no solution yet, as engines take them."""
    problems = [(line, run.problems[line - 1]) for line in run.unsolved]
    return [
        FileProblem(line, problem.question, problem.id, problem.reference)
        for line, problem in problems
    ]


def pack_identity(verified: VerifiedPack, bare: bool) -> PackIdentity:
    """What tells this pack, as it was opened, from others."""
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
