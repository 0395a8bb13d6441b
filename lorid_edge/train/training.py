"""Trains the roles of a plan, one after the other, each in its folder of the run."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorid_edge.convert.peft_config import PeftConfig, read_config
from lorid_edge.convert.peft_export import write_peft_folder
from lorid_edge.formats.base_model import check_base
from lorid_edge.roles import Role
from lorid_edge.train.job import AdapterJob, OnStep, ShouldStop, StepReport
from lorid_edge.train.loss_curve import LossCurve
from lorid_edge.train.plan import Plan, RolePlan
from lorid_edge.train.run import RunError, RunFolder
from lorid_edge.train.settings import LoraSettings

REHEARSAL_STEPS = 2
START_NAME = "start"


def train_role(
    run: RunFolder, plan: Plan, role: Role, on_step: OnStep, should_stop: ShouldStop
) -> dict[str, Any]:
    """Train one role to its end, or go on where it was stopped; a finished one is left alone.

    Returns:
        the summary of the training: steps, losses, tokens a second, peak memory, data.

    Raises:
        RunError: it is to start from an adapter that is neither in the run nor in the pack.
        CancelledError: `should_stop` said so; what was done is kept.
    """
    if run.is_finished(role):
        return run.summary(role)
    from lorid_edge.train.descent.loop import train_adapter

    role_plan = plan.roles[role]
    job = _job(run, plan, role)
    curve = LossCurve(run.role(role))

    def note_step(report: StepReport) -> None:
        curve.add(report)
        on_step(report)

    train_adapter(job, note_step, should_stop)
    return run.finish(plan, role_plan)


def is_main_process() -> bool:
    """Whether this process leads, where a launcher such as `accelerate launch` started several."""
    return os.environ.get("RANK", "0") == "0"


def process_count() -> int:
    """How many processes such a launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def follow_role(run: RunFolder, plan: Plan, role: Role, should_stop: ShouldStop) -> None:
    """`train_role` for the other processes: they share the work and write no result."""
    if run.is_finished(role):
        return
    from lorid_edge.train.descent.loop import train_adapter

    train_adapter(_job(run, plan, role), lambda report: None, should_stop)


def rehearse_role(
    run: RunFolder, plan: Plan, role: Role, on_step: OnStep, should_stop: ShouldStop
) -> dict[str, Any]:
    """Take a few steps with the role's longest examples, to see that it works and what it costs.

    `run` is a folder that nobody needs afterwards. Returns what `train_role` returns, and
    `estimated_seconds` for the real training.
    """
    role_plan = plan.roles[role]
    training = role_plan.settings.training
    longest = sorted(
        role_plan.examples, key=lambda example: len(example.prompt) + len(example.completion)
    )[-REHEARSAL_STEPS * training.batch_examples :]
    brief = training.model_copy(update={"max_steps": REHEARSAL_STEPS, "epochs": 1.0})
    shortened = replace(
        role_plan,
        examples=tuple(longest),
        settings=role_plan.settings.model_copy(update={"training": brief}),
    )
    brief_plan = replace(plan, roles={**plan.roles, role: shortened})
    if not run.is_finished(Role.INTUITIVE_REASONER):  # each role can be rehearsed alone
        fresh = shortened.settings.model_copy(update={"start_from": None})
        brief_plan.roles[role] = replace(shortened, settings=fresh)
    summary = train_role(run, brief_plan, role, on_step, should_stop)
    seconds = tokens_in_all(role_plan) / summary["tokens_per_second"]
    return {**summary, "estimated_seconds": round(seconds)}


def tokens_in_all(role_plan: RolePlan) -> float:
    """About how many tokens pass in a role's training."""
    training, examples = role_plan.settings.training, len(role_plan.examples)
    passing = examples * training.epochs
    if training.max_steps is not None:
        passing = min(passing, training.max_steps * training.batch_examples)
    return passing * role_plan.tokens / examples


def _first_adapter(run: RunFolder, plan: Plan, role_plan: RolePlan) -> Path | None:
    """The adapter that a role starts from: the run's own or, without one, the one of the pack."""
    if role_plan.settings.start_from is None:
        return None
    first = Role(role_plan.settings.start_from)
    copied = run.role(role_plan.role) / START_NAME
    if copied.is_dir():  # the role began with it, whatever was trained since
        return copied
    if run.adapter(first).is_dir():
        return run.adapter(first)
    pack = plan.base.pack
    shipped = None if pack is None else pack.adapter_path(first)
    if shipped is None:
        raise RunError(
            f"the {role_plan.role.value} starts from the adapter of the {first.value}, which is "
            f"not trained yet in {run.path}; train that role first, or say --role all."
        )
    partial = copied.with_name(f".{START_NAME}.{os.environ.get('RANK', '0')}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_peft_folder(shipped, check_base(plan.base.path), partial)
    _require_same_form(shipped, read_config(partial), role_plan.settings.lora)
    try:
        partial.rename(copied)
    except OSError:  # another process of this training was first, with the same
        if not copied.is_dir():
            raise
        shutil.rmtree(partial, ignore_errors=True)
    return copied


def _require_same_form(shipped: Path, stored: PeftConfig, lora: LoraSettings) -> None:
    """The shapes are compared when the adapter is read; the scale is in no tensor's shape."""
    if (stored.r, stored.lora_alpha) != (lora.rank, lora.alpha):
        raise RunError(
            f"{shipped}, which the role starts from, has rank {stored.r} and alpha "
            f"{stored.lora_alpha:g}; [lora] has {lora.rank} and {lora.alpha:g}. Give [lora] these "
            "values, or train the first role as well: --role all."
        )


def _job(run: RunFolder, plan: Plan, role: Role) -> AdapterJob:
    role_plan = plan.roles[role]
    return AdapterJob(
        base=plan.base.path,
        examples=role_plan.examples,
        lora=role_plan.settings.lora,
        training=role_plan.settings.training,
        folder=run.role(role),
        initial_adapter=_first_adapter(run, plan, role_plan),
    )
