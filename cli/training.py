"""Runs what `lorid-edge train` was asked for: progress, Ctrl-C, and what is told at the end."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lorid_edge.errors import CancelledError, UsageError
from lorid_edge.roles import Role

from . import streams
from .converting import SECONDS_BETWEEN_LINES, progress

if TYPE_CHECKING:
    from lorid_edge.data.record import Record
    from lorid_edge.train.job import OnStep, StepReport
    from lorid_edge.train.plan import Plan
    from lorid_edge.train.run import RunFolder

INTERRUPTED, TERMINATED = 130, 143


@dataclass(frozen=True)
class TrainCommand:
    """What is to be done with a plan.

    Attributes:
        install: put the adapters into the pack.
        evaluate: None for: if all roles are trained.
    """

    plan: Plan
    run: Path
    install: bool
    evaluate: bool | None


def train(command: TrainCommand) -> dict[str, Any]:
    """Train, convert, evaluate and install; returns the summary."""
    from lorid_edge.train.run import open_run
    from lorid_edge.train.training import is_main_process, train_role

    plan = command.plan
    if not is_main_process():
        return _follow(command)
    with open_run(command.run, plan) as run:
        streams.note(f"run: {run.path}")
        records = _evaluation_records(command, run)
        summaries = {}
        for role in plan.roles:
            if run.is_finished(role):
                streams.note(f"{role.value}: trained already")
            with _stoppable() as stop, _progress(role) as on_step:
                summaries[role.value] = train_role(run, plan, role, on_step, stop.is_set)
        summary: dict[str, Any] = {
            "recipe": plan.recipe.name,
            "run": str(run.path),
            "roles": summaries,
        }
        return {**summary, **_finish(command, run, records)}


def rehearse(command: TrainCommand) -> dict[str, Any]:
    """Take a few steps of each role in a folder that is removed afterwards."""
    from lorid_edge.train.finish import build_pack
    from lorid_edge.train.run import open_run
    from lorid_edge.train.training import process_count, rehearse_role

    if process_count() > 1:
        raise UsageError("--dry-run is for one process; give it without the launcher of several.")
    plan = command.plan
    with (
        tempfile.TemporaryDirectory(prefix="lorid-edge-") as folder,
        open_run(Path(folder) / "run", plan) as run,
    ):
        summaries = {}
        for role in plan.roles:
            with _stoppable() as stop, _progress(role) as on_step:
                summaries[role.value] = rehearse_role(run, plan, role, on_step, stop.is_set)
        with progress("converting") as on_progress:
            build_pack(run, plan, on_progress)
    return {"recipe": plan.recipe.name, "dry_run": True, "roles": summaries}


def _follow(command: TrainCommand) -> dict[str, Any]:
    """Take part in the training that the main process of several leads, and write nothing."""
    from lorid_edge.train.run import RunFolder
    from lorid_edge.train.training import follow_role

    run = RunFolder(command.run)
    for role in command.plan.roles:
        with _stoppable() as stop:
            follow_role(run, command.plan, role, stop.is_set)
    raise typer.Exit(0)


def _evaluation_records(command: TrainCommand, run: RunFolder) -> tuple[Record, ...]:
    """What to evaluate with; none if it is not wanted. Looked for before anything is trained."""
    from lorid_edge.train.plan import development_records

    plan, wanted = command.plan, command.evaluate
    if plan.base.pack is None and (command.install or wanted):
        raise UsageError(
            f"{plan.path} names no pack, so there is nothing to install into or to evaluate."
        )
    if wanted and not plan.recipe.evaluation.problems:
        raise UsageError(
            f"{plan.path} evaluates with no problems; say how many with "
            "--set evaluation.problems=100."
        )
    if wanted is None:
        is_complete = {*run.finished(), *plan.roles} == set(Role)
        wanted = is_complete and plan.base.pack is not None and plan.recipe.evaluation.problems > 0
    return development_records(plan) if wanted else ()


def _finish(command: TrainCommand, run: RunFolder, records: tuple[Record, ...]) -> dict[str, Any]:
    """Convert, evaluate and install what is trained."""
    from lorid_edge.train.finish import build_pack, install_pack

    with progress("converting") as on_progress:
        folder = build_pack(run, command.plan, on_progress)
    pack = command.plan.base.pack
    if folder is None or pack is None:
        return {"pack": None, "installed": False, "evaluation": []}
    # Before the pack is changed: the bare base is asked as its pack.toml has it.
    evaluation = _evaluate(command, run, records) if records else []
    if command.install:
        keeps_examples = command.plan.recipe.pack_examples
        install_pack(folder, pack, run.finished(), keeps_examples=keeps_examples)
    return {
        "pack": str(pack.folder if command.install else folder),
        "installed": command.install,
        "evaluation": evaluation,
    }


def _evaluate(
    command: TrainCommand, run: RunFolder, records: tuple[Record, ...]
) -> list[dict[str, Any]]:
    from lorid_edge.evaluation.trial import try_pack
    from lorid_edge.whole_files import write_json

    settings = command.plan.recipe.evaluation
    tried: list[tuple[str, str | Path, bool]] = [
        (name, run.pack, False) for name in settings.policies
    ]
    if settings.bare and command.plan.base.pack is not None:
        tried += [(name, command.plan.base.pack.folder, True) for name in settings.policies]
    results = []
    for policy, pack, bare in tried:
        title = f"evaluating {policy}{' on the bare base' if bare else ''}"
        with progress(title) as on_progress:

            def on_solved(done: int, right: int, show: Any = on_progress) -> None:
                show(done, len(records), f"{right} right")

            trial = try_pack(
                pack, records, policy, greedy=settings.greedy, bare=bare, on_solved=on_solved
            )
        about = {"dataset": settings.dataset, "split": "development", "adapters": not bare}
        results.append({**about, **trial.as_json()})
    write_json(run.path / "evaluation.json", {"greedy": settings.greedy, "results": results})
    return results


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Ctrl-C asks to stop after the step that runs, once more stops at once.

    Ends the program with one line that says how to go on.
    """
    stop = threading.Event()
    code = INTERRUPTED

    def ask(number: int, _frame: Any) -> None:
        nonlocal code
        if stop.is_set():
            raise KeyboardInterrupt
        code = INTERRUPTED if number == signal.SIGINT else TERMINATED
        stop.set()
        streams.note("stopping after this step; once more to stop at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
        if stop.is_set():  # too late for a step of this role; the next one is not to begin
            raise CancelledError("Stopped.")
    except CancelledError as stopped:
        streams.note(f"lorid-edge: {stopped} Run the same command again.")
        raise typer.Exit(code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(role: Role) -> Iterator[OnStep]:
    """What to call after each step: it moves a bar, or prints a line now and then."""
    began = time.monotonic()
    first_step: int | None = None
    next_line_at = began

    def remark(report: StepReport) -> str:
        nonlocal first_step
        first_step = report.step - 1 if first_step is None else first_step
        per_step = (time.monotonic() - began) / (report.step - first_step)
        left = per_step * (report.steps - report.step)
        return (
            f"loss {report.loss:.3f}, {report.tokens_per_second:,.0f} tokens/s, "
            f"{_duration(left)} left"
        )

    if streams.can_animate(sys.stderr):
        from . import render

        with render.work_bar(role.value) as move:
            yield lambda report: move(report.step, report.steps, remark(report))
        return

    def print_line(report: StepReport) -> None:
        nonlocal next_line_at
        text = remark(report)
        if time.monotonic() >= next_line_at or report.step == report.steps:
            next_line_at = time.monotonic() + SECONDS_BETWEEN_LINES
            streams.note(f"{role.value}: step {report.step} of {report.steps}, {text}")

    yield print_line


def describe(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = []
    for role, result in summary["roles"].items():
        line = (
            f"{role}: {result['steps']} steps, loss {result['first_loss']:.3f} to "
            f"{result['last_loss']:.3f}, {result['tokens_per_second']:,.0f} tokens/s, "
            f"{result['peak_memory_bytes'] / 1e9:.2f} GB"
        )
        if result.get("estimated_seconds"):
            line += f"; all of it would take at most about {_duration(result['estimated_seconds'])}"
        lines.append(line)
    for result in summary.get("evaluation", ()):
        lines.append(
            f"{result['policy']}{'' if result['adapters'] else ' on the bare base'}: "
            f"{result['accuracy_percent']:.1f} % right "
            f"({result['low_percent']:.1f} to {result['high_percent']:.1f}), "
            f"{result['tokens_per_problem']:.0f} tokens a problem, {result['dataset']} "
            f"{result['split']}, {result['problems']} problems"
        )
        for role, share in result["well_formed_percent"].items():
            lines.append(f"  {role}: {share:.1f} % of its replies are as they should be")
    if summary.get("dry_run"):
        lines.append("dry run: nothing was kept")
    elif summary.get("pack"):
        lines.append(f"{'installed into' if summary['installed'] else 'pack'}: {summary['pack']}")
    else:
        lines.append(f"adapters: {summary['run']}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
