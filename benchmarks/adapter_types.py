"""Does it matter that adapters are kept in float32 while they are trained?

    python benchmarks/adapter_types.py tiny/cpu --role intuitive_reasoner --steps 60

Trains one role of a recipe twice for a few steps, on the same examples in the same order: as the
trainer does it, and with the adapters rounded to bfloat16 after each optimizer step, as if they
were kept so (the optimizer's moments stay float32). No example comes twice, so that the loss of a
step is that of examples not seen yet; it is compared over the last quarter of the steps.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from scipy.stats import ttest_rel

from lorid_edge.roles import Role
from lorid_edge.train.descent.loop import train_adapter
from lorid_edge.train.descent.lora import StackedLora
from lorid_edge.train.job import AdapterJob, StepReport
from lorid_edge.train.plan import RolePlan, make_plan
from lorid_edge.train.shipped import find_recipe

LEAST_STEPS = 8
"""A paired test needs two losses at least, and so many steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare float32 with bfloat16 adapters.")
    parser.add_argument("recipe", nargs="?", default="tiny/cpu")
    parser.add_argument("--role", type=Role, default=Role.INTUITIVE_REASONER)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    if arguments.steps < LEAST_STEPS:
        parser.error(f"--steps: {arguments.steps}; the last quarter needs {LEAST_STEPS} or more")
    plan = make_plan(find_recipe(arguments.recipe), [arguments.role])
    role_plan = plan.roles[arguments.role]
    wanted = arguments.steps * role_plan.settings.training.batch_examples
    if len(role_plan.examples) < wanted:
        parser.error(f"--steps: {arguments.steps} need {wanted} of {len(role_plan.examples)}")
    curves = {
        kind: _losses(plan.base.path, role_plan, arguments.steps, kind)
        for kind in ("float32", "bfloat16")
    }
    _print(curves)


def _losses(base: Path, role_plan: RolePlan, steps: int, kind: str) -> list[float]:
    """Each step's loss, in nats a token."""
    losses: list[float] = []

    def on_step(report: StepReport) -> None:
        losses.append(report.loss)
        if report.step % 10 == 0:
            print(f"{kind}: step {report.step}, loss {report.loss:.4f}", flush=True)

    training = role_plan.settings.training.model_copy(update={"max_steps": steps, "epochs": 1.0})
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, _kept_in(kind):
        job = AdapterJob(base, role_plan.examples, role_plan.settings.lora, training, Path(folder))
        train_adapter(job, on_step, lambda: False)
    print(f"{kind}: {time.perf_counter() - start:.0f} s", flush=True)
    return losses


def _kept_in(kind: str) -> AbstractContextManager[object]:
    """Meanwhile, "bfloat16" adapters hold no more than that type can."""
    refresh = StackedLora.refresh

    def round_and_refresh(stack: StackedLora) -> None:
        with torch.no_grad():
            for parameter in (stack.lora_a, stack.lora_b):
                parameter.copy_(parameter.bfloat16())
        refresh(stack)

    if kind == "float32":
        return nullcontext()
    return patch.object(StackedLora, "refresh", round_and_refresh)


def _print(curves: dict[str, list[float]]) -> None:
    count = len(curves["float32"])
    last = {kind: losses[-(count // 4) :] for kind, losses in curves.items()}
    means = {kind: statistics.fmean(losses) for kind, losses in last.items()}
    test = ttest_rel(last["bfloat16"], last["float32"])
    low, high = test.confidence_interval(0.95)
    print(f"mean loss of the last {count // 4} steps: {means}")
    print(
        f"bfloat16 minus float32: {means['bfloat16'] - means['float32']:+.4f} "
        f"({low:+.4f} to {high:+.4f}), paired t-test p = {test.pvalue:.2g}"
    )
    print(json.dumps({"losses": curves, "last_steps": count // 4, "mean_loss": means}))


if __name__ == "__main__":
    main()
