"""Runs what `lorid-edge eval` was asked for: progress, Ctrl-C, and the summary at the end."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import closing, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lorid_edge.errors import UsageError

from . import background, streams
from .opening import fetch_with_consent, load_in_background, wait_for
from .progress import progress

if TYPE_CHECKING:
    from lorid_edge.data.datasets import Dataset, Split
    from lorid_edge.evaluation.evaluate import EvaluationPlan, Sample
    from lorid_edge.evaluation.run_folder import EvaluationRun, RunWriter
    from lorid_edge.evaluation.solving import SolvingEngine
    from lorid_edge.loading import LoadSettings
    from lorid_edge.loop.solution import Solution
    from lorid_edge.packs.store import PackStore, VerifiedPack
    from lorid_edge.solver import SolveSettings

_MAX_BROKEN_NAMED = 10


@dataclass(frozen=True)
class EvaluationCommand:
    """What was asked for; see the options of `lorid-edge eval`.

    Attributes:
        load: with as many problems in flight as are wanted, whether they fit or not.
        folder: of the run; None for one that the same command finds again.
    """

    pack: str
    data: str
    split: Split
    sample: Sample
    load: LoadSettings
    solving: SolveSettings
    bare: bool
    greedy: bool
    memory_bytes: int | None
    engine: Literal["local", "ray"]
    packed: bool
    folder: Path | None
    as_json: bool
    may_fetch: bool


def run_evaluation(command: EvaluationCommand) -> None:
    """Solve what is not solved yet, and print the summary; after Ctrl-C, of what there is."""
    from lorid_edge.evaluation.run_folder import find_run, open_run
    from lorid_edge.packs.store import PackStore

    store = PackStore()
    plan = _plan(command, store)
    folder = command.folder or plan.default_folder(store.places)
    before = find_run(folder, plan.identity, plan.problems)
    is_local = command.engine == "local"  # the workers of a cluster look at their own machines
    if is_local and (before is None or before.unsolved):
        plan = replace(plan, load=_fitted(command, plan.verified, plan.load, store))
    typed = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    with open_run(folder, plan.description(typed, command.engine), plan.problems) as writer:
        streams.note(f"run: {folder}")
        try:
            if writer.run.unsolved:
                _solve(command, plan, writer, store)
            else:
                streams.note("all problems were solved before; nothing is solved again")
        except KeyboardInterrupt:
            streams.note("interrupted; run the same command again to go on")
            _tell(writer, command.as_json)
            raise
        _tell(writer, command.as_json)


def _plan(command: EvaluationCommand, store: PackStore) -> EvaluationPlan:
    """What is to be done, after all that is cheap to check."""
    from lorid_edge.evaluation.evaluate import plan_evaluation
    from lorid_edge.evaluation.variants import open_variant

    pack = store.find(command.pack)
    dataset = _load_data(command)
    if not pack.is_present:
        fetch_with_consent(store, pack, command.may_fetch)
    verified = open_variant(store, command.pack, bare=command.bare, greedy=command.greedy)
    problems = min(len(dataset.records), command.sample.limit or len(dataset.records))
    load = replace(command.load, in_flight=min(command.load.in_flight, problems))
    return plan_evaluation(
        verified, dataset, command.sample, load, command.solving, bare=command.bare
    )


def _fitted(
    command: EvaluationCommand, verified: VerifiedPack, wanted: LoadSettings, store: PackStore
) -> LoadSettings:
    """How the pack is loaded here: as many problems at once as fit, from the fastest weights."""
    from lorid_edge.evaluation.in_flight import fitting, with_faster_weights

    load = fitting(verified, wanted, command.memory_bytes)
    if load.in_flight < wanted.in_flight:
        streams.note(
            f"{load.in_flight} problems at once instead of {wanted.in_flight}: "
            "more do not fit the memory"
        )
    if command.packed:
        return load
    return wait_for(
        "looking for the fastest weights (the first time takes longer)",
        lambda: with_faster_weights(verified, load, command.memory_bytes, store.places),
    )


def _load_data(command: EvaluationCommand) -> Dataset:
    """The data set, whose broken problems are reported."""
    from lorid_edge.data.datasets import load_dataset

    dataset = load_dataset(command.data, command.split, needs_answers=True)
    for line in dataset.broken[:_MAX_BROKEN_NAMED]:
        streams.note(f"{command.data}, line {line.line}: {line.reason}; passed over.")
    more = len(dataset.broken) - _MAX_BROKEN_NAMED
    if more > 0:
        streams.note(f"{command.data}: {more} more problems are broken.")
    return dataset


def _solve(
    command: EvaluationCommand, plan: EvaluationPlan, writer: RunWriter, store: PackStore
) -> None:
    """Solve what has no solution yet and keep every solution at once."""
    from lorid_edge.evaluation.evaluate import unsolved_problems

    problems = unsolved_problems(writer.run)
    # Ray prints its own warnings on standard output, which is for the result.
    with redirect_stdout(sys.stderr), closing(_engine(command, plan, store)) as engine:
        began, before = time.perf_counter(), len(writer.run.solutions)
        found = background.items(lambda: _kept(writer, engine.solve(problems)), engine.cancel)
        try:
            with closing(found), progress(len(writer.run.problems)) as show:
                if before:
                    show(before, _remark(writer.run))
                for solution in found:
                    if solution is not None:
                        show(len(writer.run.solutions), _remark(writer.run))
        finally:
            solved = len(writer.run.solutions) - before
            with suppress(UsageError):  # of a full disk the error that ended the work tells
                writer.end_session(solved, time.perf_counter() - began)


def _engine(command: EvaluationCommand, plan: EvaluationPlan, store: PackStore) -> SolvingEngine:
    """What solves the problems, ready to do so."""
    if command.engine == "ray":
        return _ray_engine(command, plan, store)
    from lorid_edge.evaluation.solving import LocalEngine
    from lorid_edge.evaluation.variants import load_solver

    name = plan.verified.pack.name
    solver = load_in_background(name, lambda: load_solver(plan.verified, plan.load, store))
    return LocalEngine(solver, plan.identity, plan.solving)


def _ray_engine(
    command: EvaluationCommand, plan: EvaluationPlan, store: PackStore
) -> SolvingEngine:
    from lorid_edge.engine.threads import choose_threads
    from lorid_edge.evaluation.ray_engine import RayEngine
    from lorid_edge.evaluation.ray_worker import WorkerSettings

    is_known = command.pack in store.known()  # by its name, on other machines too
    settings = WorkerSettings(
        pack=command.pack if is_known else plan.verified.pack.folder.resolve(),
        greedy=command.greedy,
        identity=plan.identity,
        load=plan.load,
        solving=plan.solving,
        memory_bytes=command.memory_bytes,
    )
    return RayEngine(settings, threads=choose_threads(plan.load.threads).threads)


def _kept(writer: RunWriter, solutions: Iterator[Solution]) -> Iterator[Solution]:
    """The solutions, each on disk before it is seen.

    For the thread that solves: Ctrl-C, which the main thread hears, never comes between a solution
    on disk and its count.
    """
    for solution in solutions:
        writer.append(solution)
        yield solution


def _remark(run: EvaluationRun) -> str:
    solutions = tuple(run.solutions.values())  # at once: another thread adds to them
    right = sum(bool(solution.correct) for solution in solutions)
    return f"{right} right ({100 * right / len(solutions):.1f} %)"


def _tell(writer: RunWriter, as_json: bool) -> None:
    """Write the summary into the run's folder, and print it."""
    from lorid_edge.evaluation.summary import summarise
    from lorid_edge.evaluation.summary_json import as_dict
    from lorid_edge.evaluation.summary_text import as_lines

    run = writer.run
    summary = summarise(run)
    content = as_dict(summary)
    writer.write_summary(content)
    if as_json:
        line = json.dumps({**content, "run": str(run.folder)}, ensure_ascii=False)
        streams.json_result(line)
        return
    identity = run.description.identity
    bare = " without adapters" if identity.pack.bare else ""
    streams.result(
        f"{identity.pack.name} {identity.pack.version}{bare}, policy {identity.policy}, "
        f"{identity.data.name} {identity.data.split}"
    )
    for line in as_lines(summary):
        streams.result(line)
