"""The training loop: from an AdapterJob to a PEFT folder.

Several GPUs: started by `accelerate launch`, every process takes a share of each step's passes, and
gradients are summed. The result is the same whatever the split, up to rounding.
"""

from __future__ import annotations

import math
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch

from lorid_edge.errors import CancelledError, TrainingError
from lorid_edge.train.descent import kernels
from lorid_edge.train.descent.adapter_files import read_adapter, write_adapter
from lorid_edge.train.descent.base_model import base_sha256, choose_device, choose_dtype, load_base
from lorid_edge.train.descent.batches import (
    ExampleOrder,
    Pass,
    common_prefix_tokens,
    examples_sha256,
    lay_out,
    split_step,
)
from lorid_edge.train.descent.checkpoint import (
    Checkpoint,
    generator_states,
    read_checkpoint,
    restore_generators,
    write_checkpoint,
)
from lorid_edge.train.descent.decoder import Decoder, is_supported
from lorid_edge.train.descent.lora import start_adapter
from lorid_edge.train.descent.memory import (
    give_back_freed_memory,
    keep_freed_memory,
    peak_memory_bytes,
)
from lorid_edge.train.descent.plain_model import PlainModel
from lorid_edge.train.job import AdapterJob, OnStep, ShouldStop, StepReport, TokenExample
from lorid_edge.train.settings import FREE_TRAINING_SETTINGS

ADAPTER_FOLDER = "adapter"
_RATE_STEPS = 10
_LONG_TOKENS = 200_000


def train_adapter(job: AdapterJob, on_step: OnStep, should_stop: ShouldStop) -> Path:
    """Train the adapter, going on from the last checkpoint in the job's folder if there is one.

    Returns the PEFT folder.

    Raises:
        TrainingError: no GPU where one is demanded, a base that cannot be read, no usable example,
            a checkpoint that belongs to another job or cannot be written, a loss that is no number.
        CancelledError: `should_stop` said so; the state is in a checkpoint.
    """
    examples = _usable(job)
    device = choose_device(job.training)
    run = _Run(job, examples, device)
    run.resume()
    last_checkpoint = time.monotonic()
    while run.step < run.steps:
        stop_wanted = run.advance(on_step, should_stop)
        is_due = time.monotonic() - last_checkpoint >= job.training.checkpoint_seconds
        if is_due or stop_wanted or run.step == run.steps:
            run.save()
            last_checkpoint = time.monotonic()
        if stop_wanted and run.step < run.steps:
            raise CancelledError(f"Stopped after step {run.step} of {run.steps}; it can go on.")
    return run.finish()


def learning_rate(step: int, steps: int, peak: float, warmup_fraction: float) -> float:
    """Of the step (from 0): linear up to the peak, then a cosine towards 0."""
    warmup = math.ceil(steps * warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class _Run:
    """The state of one job while it is trained."""

    def __init__(self, job: AdapterJob, examples: list[TokenExample], device: torch.device) -> None:
        from accelerate import Accelerator

        keep_freed_memory()
        training = job.training
        self._job = job
        self._accelerator = Accelerator(cpu=device.type == "cpu")
        self._order = ExampleOrder(
            examples, training.epochs, training.batch_examples, training.seed
        )
        self.step, self.tokens = 0, 0
        self.steps = min(self._order.steps, training.max_steps or self._order.steps)
        dtype = choose_dtype(training, device)
        self._identity = _identity(job, examples, dtype)
        base = load_base(job.base, dtype, self._accelerator.device)
        is_fast = is_supported(base, job.lora, training.max_tokens)
        self._prefix_tokens = common_prefix_tokens(examples) if is_fast else 0
        kind = Decoder if is_fast else PlainModel
        self._model: Decoder | PlainModel = kind(base, job.lora, training.gradient_checkpointing)
        self._parameters = {
            name: parameter
            for name, parameter in self._model.named_parameters()
            if parameter.requires_grad and parameter.numel()
        }
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(),
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=True,
        )
        # Compiling takes as long as training on 20,000 tokens of a small base, and gains a fifth.
        mean_tokens = self._order.mean_tokens
        self._is_long = self.steps * training.batch_examples * mean_tokens > _LONG_TOKENS
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RATE_STEPS + 1)

    def resume(self) -> None:
        """Start the adapter, or take everything from the last checkpoint."""
        training = self._job.training
        torch.manual_seed(training.seed)
        checkpoint = read_checkpoint(self._job.folder, self._identity)
        kernels.use_compiler(False)  # as in a process of its own, whatever was trained before
        if isinstance(self._model, Decoder) and self._is_long:
            self._model.compile_kernels()  # before the adapter is there: see `compile_kernels`
        if checkpoint is None:
            generator = torch.Generator().manual_seed(training.seed)
            with torch.no_grad():
                for _, a, b in self._model.pairs():
                    start_adapter(a, generator)
                    b.zero_()
                if self._job.initial_adapter is not None:
                    read_adapter(self._job.initial_adapter, self._model.pairs())
        else:
            self.step, self.tokens = checkpoint.step, checkpoint.tokens
            self._restore(checkpoint.tensors)
        self._model.refresh()
        self._recent.append((time.perf_counter(), self.tokens))

    def advance(self, on_step: OnStep, should_stop: ShouldStop) -> bool:
        """One optimizer step; whether the caller wants to stop after it."""
        training = self._job.training
        examples = self._order.step(self.step)
        trained_tokens = sum(len(example.completion) for example in examples)
        groups = split_step(
            examples,
            training.micro_batch_tokens,
            self._prefix_tokens,
            is_padded=isinstance(self._model, PlainModel),
        )
        mine = groups[self._accelerator.process_index :: self._accelerator.num_processes]
        loss = 0.0
        for group in mine:
            loss += self._backward(lay_out(group, self._prefix_tokens)) / trained_tokens
        norm, loss, stop_wanted = self._reduce(trained_tokens, loss, should_stop())
        if not (math.isfinite(norm) and math.isfinite(loss)):
            raise TrainingError(
                f"Step {self.step + 1}: the loss is {loss} and its gradient {norm}. Lower the "
                "learning rate; the last checkpoint is from before this step."
            )
        rate = learning_rate(
            self.step, self.steps, training.learning_rate, training.warmup_fraction
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=False)
        self._model.refresh()
        self.step += 1
        self.tokens += sum(len(example.prompt) + len(example.completion) for example in examples)
        if self._accelerator.is_main_process:
            on_step(self._report(loss, norm, rate))
        return stop_wanted

    def save(self) -> None:
        """Write a checkpoint."""
        if not self._accelerator.is_main_process:
            return
        tensors = {f"parameter.{name}": part.detach() for name, part in self._parameters.items()}
        for name, parameter in self._parameters.items():
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = value
        tensors.update(generator_states())
        state = Checkpoint(self.step, self.tokens, self._identity, tensors)
        write_checkpoint(self._job.folder, state)
        give_back_freed_memory()

    def finish(self) -> Path:
        """Write the adapter; the folder."""
        folder = self._job.folder / ADAPTER_FOLDER
        if self._accelerator.is_main_process:
            write_adapter(folder, self._model.pairs(), self._job.lora, self._job.base)
        self._accelerator.wait_for_everyone()
        return folder

    def _backward(self, batch: Pass) -> float:
        loss: torch.Tensor = self._model(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _reduce(
        self, trained_tokens: int, loss: float, wants_stop: bool
    ) -> tuple[float, float, bool]:
        """Make gradients means over the step's tokens and clip them.

        Returns their norm before clipping, the loss over all processes, and whether any of them
        wants to stop.
        """
        parameters = list(self._parameters.values())
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._accelerator.num_processes > 1:
            loss, wants_stop = self._sum_over_processes(gradients, loss, wants_stop)
        torch._foreach_mul_(gradients, 1 / trained_tokens)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._job.training.max_gradient_norm)
        return float(norm), loss, wants_stop

    def _sum_over_processes(
        self, gradients: list[torch.Tensor], loss: float, wants_stop: bool
    ) -> tuple[float, bool]:
        rest = gradients[0].new_tensor([loss, float(wants_stop)])
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), rest])
        total: Any = self._accelerator.reduce(flat, "sum")
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, total[:-2].split(sizes), strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(total[-2]), bool(total[-1] > 0)

    def _restore(self, tensors: dict[str, torch.Tensor]) -> None:
        if any(f"parameter.{name}" not in tensors for name in self._parameters):
            raise TrainingError(
                f"The checkpoint in {self._job.folder} is of another kind of device (on CPUs the "
                "base is computed in another form than on GPUs). Go on where it was begun, or use "
                "another run folder."
            )
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[f"parameter.{name}"])
                self._optimizer.state[parameter] = {  # fused, it wants the step there too
                    key: tensors[f"optimizer.{key}.{name}"].to(parameter.device)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
        restore_generators(tensors)

    def _report(self, loss: float, norm: float, rate: float) -> StepReport:
        self._recent.append((time.perf_counter(), self.tokens))
        (start, before), (now, after) = self._recent[0], self._recent[-1]
        seen = min(self.step * self._job.training.batch_examples, self._order.total)
        return StepReport(
            step=self.step,
            steps=self.steps,
            epoch=seen / len(self._order),
            loss=loss,
            learning_rate=rate,
            gradient_norm=norm,
            tokens=self.tokens,
            tokens_per_second=(after - before) / max(now - start, 1e-9),
            peak_memory_bytes=peak_memory_bytes(self._accelerator.device),
        )


def _usable(job: AdapterJob) -> list[TokenExample]:
    """The examples that are not too long. Raises TrainingError if none is left."""
    fitting = [
        example
        for example in job.examples
        if len(example.prompt) + len(example.completion) <= job.training.max_tokens
        and example.prompt
        and example.completion
    ]
    if not fitting:
        raise TrainingError(
            f"None of the {len(job.examples)} examples has a prompt and a completion within "
            f"max_tokens = {job.training.max_tokens} tokens."
        )
    return fitting


def _identity(job: AdapterJob, examples: list[TokenExample], dtype: torch.dtype) -> dict[str, Any]:
    """What decides the result, in JSON's types; of the type what came of the setting."""
    start = job.initial_adapter
    return {
        "base_sha256": base_sha256(job.base),
        "initial_adapter_sha256": base_sha256(start / "adapter_model.safetensors")
        if start
        else None,
        "examples_sha256": examples_sha256(examples),
        "dtype": str(dtype).removeprefix("torch."),
        "lora": job.lora.model_dump(mode="json"),
        "training": job.training.model_dump(mode="json", exclude=set(FREE_TRAINING_SETTINGS)),
    }
