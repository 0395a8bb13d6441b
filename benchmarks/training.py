"""Training speed and memory beside a plain transformers and PEFT loop.

    python benchmarks/training.py --pack small --sequence-tokens 256

Both train LoRA of rank 16 on all linear layers of the pack's base, unpacked to the same type, on
the same examples of equal length, half of each completion: the packs' own chains, one behind the
other, or `--random` tokens, after which many more are likely, so that our loss takes longer. The
plain loop asks the model for its loss on padded batches, with full logits. Each side runs in a
process of its own, so that its peak memory is its own, and they take steps in turns; medians, with
the first round left out.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lorid_edge.engine.model import Model
from lorid_edge.errors import CancelledError
from lorid_edge.packs.store import PackStore
from lorid_edge.train.job import AdapterJob, StepReport, TokenExample
from lorid_edge.train.settings import LoraSettings, TrainingSettings

LORA = LoraSettings(rank=16, alpha=32.0)
CHAINS = Path(__file__).parents[1] / "models" / "chains" / "gsm8k.jsonl"
STEPS = 1000  # of the schedule; only the first are taken
SIDES = ("ours", "plain")


class Clock:
    """Started at once, it tells what a step took, as a line of JSON.

    CPU time of one thread hardly depends on other work of the machine.
    """

    def __init__(self) -> None:
        self._start, self._cpu_start = time.perf_counter(), time.process_time()

    def report(self, loss: float, peak_memory_bytes: int) -> str:
        return json.dumps(
            {
                "seconds": time.perf_counter() - self._start,
                "cpu_seconds": time.process_time() - self._cpu_start,
                "loss": loss,
                "peak_memory_bytes": peak_memory_bytes,
            }
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure training on this machine.")
    parser.add_argument("--pack", default="small")
    parser.add_argument("--sequence-tokens", type=int, default=256)
    parser.add_argument("--examples", type=int, default=8, help="of a step, in one pass")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of each side; torch's choice by default")
    parser.add_argument("--random", action="store_true", help="tokens by chance, not text")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    base = PackStore().find(arguments.pack).base_path
    if arguments.side:
        import torch

        work = _work_ours if arguments.side == "ours" else _work_plain
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        make = _random_tokens if arguments.random else _text_tokens
        tokens = make(base, 8 * arguments.examples * arguments.sequence_tokens)
        work(base, _cut(tokens, arguments.sequence_tokens), arguments.examples)
        return
    command = [sys.executable, *sys.argv, "--side"]
    workers = {
        side: subprocess.Popen(
            [*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for side in SIDES
    }
    try:
        for side, worker in workers.items():
            _hear(side, worker)
        reports = _alternate(workers, arguments.rounds + 1)
    finally:
        for worker in workers.values():
            worker.kill()  # nothing of theirs is wanted, and the compiler's own workers end slowly
            worker.wait()
    _print(arguments, {side: taken[1:] for side, taken in reports.items()})


def _alternate(
    workers: dict[str, subprocess.Popen[str]], rounds: int
) -> dict[str, list[dict[str, float]]]:
    """Have both sides take a step in turns; what they report of each."""
    reports: dict[str, list[dict[str, float]]] = {side: [] for side in workers}
    for _ in range(rounds):
        for side, worker in workers.items():
            _say(worker, "step")
            reports[side].append(_hear(side, worker))
            print(f"{side}: {reports[side][-1]['seconds']:.2f} s", file=sys.stderr, flush=True)
    return reports


def _print(arguments: argparse.Namespace, reports: dict[str, list[dict[str, float]]]) -> None:
    tokens = arguments.examples * arguments.sequence_tokens
    rates = {
        side: tokens / statistics.median(report["seconds"] for report in taken)
        for side, taken in reports.items()
    }
    ratios = {
        clock: statistics.median(
            plain[clock] / ours[clock]
            for ours, plain in zip(reports["ours"], reports["plain"], strict=True)
        )
        for clock in ("seconds", "cpu_seconds")
    }
    print(f"{'loop':8} {'tokens/s':>9} {'per CPU s':>9} {'peak memory':>12} {'last loss':>10}")
    for side, taken in reports.items():
        memory = f"{taken[-1]['peak_memory_bytes'] / 1e9:.2f} GB"
        cpu = tokens / statistics.median(report["cpu_seconds"] for report in taken)
        print(f"{side:8} {rates[side]:9.0f} {cpu:9.0f} {memory:>12} {taken[-1]['loss']:10.4f}")
    print(f"ours / plain: {ratios['seconds']:.2f}, by CPU time {ratios['cpu_seconds']:.2f}")
    result = {
        "pack": arguments.pack,
        "sequence_tokens": arguments.sequence_tokens,
        "tokens_per_second": rates,
        "ratio": ratios["seconds"],
        "ratio_of_cpu_time": ratios["cpu_seconds"],
        "examples": arguments.examples,
        "threads": arguments.threads,
        "peak_memory_bytes": {
            side: taken[-1]["peak_memory_bytes"] for side, taken in reports.items()
        },
        "steps": reports,
    }
    print(json.dumps(result))


def _work_ours(base: Path, examples: list[TokenExample], count: int) -> None:
    from lorid_edge.train.descent.loop import train_adapter

    sequence_tokens = len(examples[0].prompt + examples[0].completion)
    training = TrainingSettings(
        epochs=STEPS / 8,
        batch_examples=count,
        micro_batch_tokens=count * sequence_tokens,
        max_tokens=sequence_tokens,
        checkpoint_seconds=1e9,
    )
    clock = Clock()
    wants_stop = False

    def on_step(report: StepReport) -> None:
        nonlocal clock, wants_stop
        report_of_step = clock.report(report.loss, report.peak_memory_bytes)
        if report.step > 1:  # the first one, before anything was asked for, warms up
            print(report_of_step, flush=True)
        else:
            print("ready", flush=True)
        wants_stop = sys.stdin.readline().strip() != "step"
        clock = Clock()

    with tempfile.TemporaryDirectory() as folder:
        try:
            train_adapter(
                AdapterJob(base, examples, LORA, training, Path(folder)),
                on_step,
                lambda: wants_stop,
            )
        except CancelledError:
            return


def _work_plain(base: Path, examples: list[TokenExample], count: int) -> None:
    import peft
    import torch

    from lorid_edge.train.descent.base_model import choose_dtype, load_base
    from lorid_edge.train.descent.memory import peak_memory_bytes

    cpu = torch.device("cpu")
    settings = TrainingSettings()
    config = peft.LoraConfig(
        r=LORA.rank,
        lora_alpha=int(LORA.alpha),
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(load_base(base, choose_dtype(settings, cpu), cpu), config)
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    for step in range(STEPS):
        clock = Clock()
        batch = [examples[(step * count + index) % len(examples)] for index in range(count)]
        tokens = torch.tensor([example.prompt + example.completion for example in batch])
        labels = tokens.clone()
        labels[:, : len(batch[0].prompt)] = -100
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
        report_of_step = clock.report(loss.item(), peak_memory_bytes(cpu))
        if step:
            print(report_of_step, flush=True)
        else:
            print("ready", flush=True)
        if sys.stdin.readline().strip() != "step":
            return


def _text_tokens(base: Path, count: int) -> list[int]:
    lines = CHAINS.read_text(encoding="utf-8").splitlines()
    text = "\n\n".join(json.loads(line)["rationale"] for line in lines)
    tokens = Model(base, vocabulary_only=True).tokenize(text, special=False)
    return list(itertools.islice(itertools.cycle(tokens), count))


def _random_tokens(base: Path, count: int) -> list[int]:
    return list(map(int, np.random.default_rng(0).integers(100, 40000, count)))


def _cut(tokens: list[int], sequence_tokens: int) -> list[TokenExample]:
    half = sequence_tokens // 2
    return [
        TokenExample(
            tuple(tokens[start : start + half]),
            tuple(tokens[start + half : start + sequence_tokens]),
        )
        for start in range(0, len(tokens), sequence_tokens)
    ]


def _say(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # one that has ended is noticed by `_hear`
        print(word, file=worker.stdin, flush=True)


def _hear(side: str, worker: subprocess.Popen[str]) -> dict[str, float]:
    """The worker's next report; what it prints besides is passed over."""
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith("{"):
            report: dict[str, float] = json.loads(line)
            return report
        if line.startswith("ready"):
            return {}
    status = worker.wait()
    if status == -signal.SIGKILL:
        raise SystemExit(
            f"{side}: killed by the system, mostly for want of memory. The plain loop of small "
            "takes some 12 GB, ours 5; end what else is running, or take fewer --examples."
        )
    raise SystemExit(f"{side}: ended with exit status {status}; its message is above.")


if __name__ == "__main__":
    main()
