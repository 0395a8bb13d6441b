"""Whole jobs on small random bases: what they learn, write, and survive."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from random_examples import random_examples
from safetensors.torch import load_file

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.errors import CancelledError, TrainingError
from lorid_edge.train.descent import loop
from lorid_edge.train.descent.adapter_files import WEIGHTS_NAME
from lorid_edge.train.descent.loop import learning_rate, train_adapter
from lorid_edge.train.job import AdapterJob, StepReport, TokenExample
from lorid_edge.train.settings import LoraSettings, TrainingSettings

LORA = LoraSettings(rank=4, alpha=8.0)
TRAINING = TrainingSettings(
    epochs=3, batch_examples=4, micro_batch_tokens=64, learning_rate=1e-2, checkpoint_seconds=0
)
MakeJob = Callable[..., AdapterJob]


@pytest.fixture
def make_job(bases: dict[str, Path], tmp_path: Path) -> MakeJob:
    """A job of 8 steps on a random base; fields can be changed."""

    def make(name: str = "run", architecture: str = "qwen2", **changes: object) -> AdapterJob:
        job = AdapterJob(bases[architecture], random_examples(10), LORA, TRAINING, tmp_path / name)
        return replace(job, **changes)  # type: ignore[arg-type]

    return make


def run(job: AdapterJob, stop_after: int | None = None) -> list[StepReport]:
    """Train; the reports of the steps done."""
    reports: list[StepReport] = []
    train_adapter(job, reports.append, lambda: len(reports) + 1 == stop_after)
    return reports


def weights(job: AdapterJob) -> dict[str, torch.Tensor]:
    return load_file(job.folder / "adapter" / WEIGHTS_NAME)


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(left[key].equal(right[key]) for key in left)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_a_job_learns_its_examples_and_peft_and_llama_cpp_read_the_result(
    make_job: MakeJob, architecture: str, tmp_path: Path
) -> None:
    training = TRAINING.model_copy(update={"epochs": 20.0, "dtype": "float32"})
    job = make_job(architecture=architecture, training=training)
    reports = run(job)
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert reports[-1].step == reports[-1].steps == 50
    everything = sum(len(example.prompt + example.completion) for example in job.examples)
    assert reports[-1].tokens == 20 * everything

    convert_lora(LoraConversion(job.folder / "adapter", job.base, tmp_path / "adapter.gguf", "f16"))
    import peft

    from lorid_edge.train.descent.base_model import load_base

    base = load_base(job.base, torch.float32, torch.device("cpu"))
    model = peft.PeftModel.from_pretrained(base, str(job.folder / "adapter"))
    losses = []
    for example in job.examples:
        tokens = torch.tensor([example.prompt + example.completion])
        labels = tokens.clone()
        labels[:, : len(example.prompt)] = -100
        losses.append(float(model(input_ids=tokens, labels=labels).loss) * len(example.completion))
    trained = sum(len(example.completion) for example in job.examples)
    assert sum(losses) / trained == pytest.approx(reports[-1].loss, abs=0.5)


def test_the_split_into_passes_does_not_matter(make_job: MakeJob) -> None:
    runs = []
    for tokens in (16, 4096):
        training = TRAINING.model_copy(update={"micro_batch_tokens": tokens, "dtype": "float32"})
        job = make_job(f"split-{tokens}", training=training)
        runs.append(run(job))
    for small, large in zip(*runs, strict=True):
        assert small.loss == pytest.approx(large.loss, rel=1e-4)
        assert small.gradient_norm == pytest.approx(large.gradient_norm, rel=1e-3)


def test_a_stopped_job_goes_on_to_the_same_bits(make_job: MakeJob) -> None:
    run(make_job("whole"))
    stopped = make_job("stopped")
    with pytest.raises(CancelledError, match="after step 3 of 8"):
        run(stopped, stop_after=3)
    assert [report.step for report in run(stopped)] == [4, 5, 6, 7, 8]
    assert same(weights(stopped), weights(make_job("whole")))


def test_dropout_goes_on_where_it_was(make_job: MakeJob) -> None:
    lora = LORA.model_copy(update={"dropout": 0.1})
    run(make_job("whole", lora=lora))
    stopped = make_job("stopped", lora=lora)
    with pytest.raises(CancelledError):
        run(stopped, stop_after=3)
    run(stopped)
    assert same(weights(stopped), weights(make_job("whole", lora=lora)))
    run(make_job("none"))
    assert not same(weights(stopped), weights(make_job("none")))


SCRIPT = """
import os, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from random_examples import random_examples
from lorid_edge.train.job import AdapterJob
from lorid_edge.train.descent.loop import train_adapter
from lorid_edge.train.settings import LoraSettings, TrainingSettings

def on_step(report):
    if report.step == {killed_at}:
        os.kill(os.getpid(), signal.SIGKILL)

job = AdapterJob(
    Path({base!r}),
    random_examples(10),
    LoraSettings.model_validate_json({lora!r}),
    TrainingSettings.model_validate_json({training!r}),
    Path({folder!r}),
)
train_adapter(job, on_step, lambda: False)
"""


def script(job: AdapterJob, killed_at: int | None = None) -> str:
    """A program that trains the job (whose examples are the default ones)."""
    return SCRIPT.format(
        paths=[str(Path(__file__).parent)],
        killed_at=killed_at,
        base=str(job.base),
        folder=str(job.folder),
        lora=job.lora.model_dump_json(),
        training=job.training.model_dump_json(),
    )


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
@pytest.mark.parametrize("step", [1, 5])
def test_a_killed_job_goes_on_to_the_same_bits(make_job: MakeJob, step: int) -> None:
    killed = make_job("killed")
    program = script(killed, killed_at=step)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert run(killed)[0].step == step  # the step that was killed had no checkpoint yet
    run(make_job("whole"))
    assert same(weights(killed), weights(make_job("whole")))


def test_two_processes_train_what_one_does(make_job: MakeJob, tmp_path: Path) -> None:
    training = TRAINING.model_copy(update={"dtype": "float32"})
    alone, shared = make_job("alone", training=training), make_job("shared", training=training)
    run(alone)
    program = tmp_path / "train.py"
    # One write each: what two processes print in pieces comes out mixed.
    count = (
        "import os, torch.distributed as group; "
        "os.write(1, b'%d processes\\n' % group.get_world_size())"
    )
    program.write_text(f"{script(shared)}\n{count}\n")
    # Accelerate's launcher starts a single process on a CPU; its own code finds torchrun's.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launch, str(program)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"2 processes") == 2
    left, right = weights(alone), weights(shared)
    assert left.keys() == right.keys()
    assert all(torch.allclose(left[key], right[key], atol=1e-3) for key in left)


def test_a_finished_job_is_not_trained_again(make_job: MakeJob) -> None:
    run(make_job())
    before = weights(make_job())
    assert run(make_job()) == []
    assert same(weights(make_job()), before)


def test_a_checkpoint_of_another_kind_of_device_is_refused(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CancelledError):
        run(make_job(), stop_after=1)
    monkeypatch.setattr(loop, "is_supported", lambda *_: False)  # as on a GPU
    with pytest.raises(TrainingError, match="another kind of device"):
        run(make_job())


def test_a_checkpoint_of_another_job_is_refused_with_the_difference(make_job: MakeJob) -> None:
    with pytest.raises(CancelledError):
        run(make_job(), stop_after=1)
    with pytest.raises(TrainingError, match=r"lora\.rank: was 4, is 8"):
        run(make_job(lora=LORA.model_copy(update={"rank": 8})))
    with pytest.raises(TrainingError, match=r"learning_rate: was 0\.01, is 0\.02"):
        run(make_job(training=TRAINING.model_copy(update={"learning_rate": 2e-2})))
    with pytest.raises(TrainingError, match="examples_sha256"):
        run(make_job(examples=random_examples(10, seed=1)))
    with pytest.raises(TrainingError, match="base_sha256"):
        run(make_job(architecture="llama"))


def test_a_run_out_of_memory_goes_on_with_less(make_job: MakeJob) -> None:
    training = TRAINING.model_copy(update={"dtype": "float32"})
    run(make_job("whole", training=training))
    with pytest.raises(CancelledError):
        run(make_job("less", training=training), stop_after=3)
    changes = {"micro_batch_tokens": 32, "gradient_checkpointing": True}
    less = make_job("less", training=training.model_copy(update=changes))
    assert [report.step for report in run(less)] == [4, 5, 6, 7, 8]
    one, other = weights(make_job("whole")), weights(less)
    assert all(torch.allclose(one[key], other[key], atol=1e-3) for key in one)


def test_training_starts_from_another_adapter(make_job: MakeJob) -> None:
    first = make_job("first")
    last = run(first)[-1].loss
    second = make_job("second", initial_adapter=first.folder / "adapter")
    assert run(second)[0].loss < last + 0.5
    other = make_job("other", initial_adapter=second.folder / "adapter", lora=LoraSettings(rank=2))
    with pytest.raises(TrainingError, match=r"lora_A: shape \[4, 64\], expected \[2, 64\]"):
        run(other)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_reported_before_anything_is_loaded(make_job: MakeJob) -> None:
    job = make_job(training=TRAINING.model_copy(update={"device": "cuda"}), base=Path("nowhere"))
    with pytest.raises(TrainingError, match="demands a GPU"):
        run(job)


def test_a_target_that_the_base_lacks_is_named(make_job: MakeJob) -> None:
    with pytest.raises(TrainingError, match="no linear layer v_prj"):
        run(make_job(lora=LoraSettings(targets=("q_proj", "v_prj"))))


def test_examples_that_are_too_long_are_left_out(make_job: MakeJob) -> None:
    long = TokenExample(tuple(range(3, 600)), (5, 6))
    assert [report.epoch for report in run(make_job(examples=[*random_examples(10), long]))][
        -1
    ] == 3
    with pytest.raises(TrainingError, match="None of the 1 examples"):
        run(make_job("none", examples=[long]))


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.01
