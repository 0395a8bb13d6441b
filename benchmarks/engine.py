"""What the engine promises, measured on this machine: speed, a busy machine, memory, start-up.

    python benchmarks/engine.py                     standard and small
    python benchmarks/engine.py --pack small

Measure alone: on a machine without other load. Every ratio is taken within one run, from medians
of alternating repetitions. The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lorid_edge.bench.decoding import PROMPT, writing_tokens_per_second
from lorid_edge.engine import native
from lorid_edge.engine.batch import Batch
from lorid_edge.engine.engine import Engine, EngineSettings
from lorid_edge.engine.lane import Lane, LaneSettings
from lorid_edge.engine.model import BARE, Model
from lorid_edge.engine.probe import cpu_flags
from lorid_edge.engine.sequence import GenerationRequest
from lorid_edge.engine.threads import choose_threads
from lorid_edge.packs.store import PackStore

REPETITIONS = 5
PAIRS = 9
TOKENS = 48
QUESTION = "A train travels 60 km in 45 minutes. How many km does it travel in two hours?"
EIGHT_SEQUENCES_TARGET = {"standard": 2.5, "small": 3.4}
DEFAULT_SPIN_COUNT = "300000"
"""libgomp's own, as its manual gives it: what a process gets that sets nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", action="append", help="standard and small if not given")
    parser.add_argument("--child", choices=sorted(CHILDREN), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    packs = arguments.pack or ["standard", "small"]
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](packs[0])))
        return
    store = PackStore()
    for pack in packs:
        store.pull(store.find(pack))
    report: dict[str, Any] = {"conditions": conditions()}
    print("conditions:", json.dumps(report["conditions"], indent=1))
    for pack in packs:
        report[pack] = measure(pack)
    report["help_seconds"] = help_seconds()
    print(f"lorid-edge --help: {report['help_seconds']:.2f} s (at most 0.40)")
    print(json.dumps(report))


def measure(pack: str) -> dict[str, Any]:
    """All figures of one pack."""
    print(f"\n{pack}")
    figures: dict[str, Any] = run_child("single", pack) | run_child("widths", pack)
    show("one sequence, of a bare decode loop's speed", figures["engine_to_bare_ratio"], 0.95)
    for width, ratio in figures["width_ratios"].items():
        target = EIGHT_SEQUENCES_TARGET.get(pack) if width == "8" else None
        show(f"{width} sequences, of one's speed", ratio, target)
    busy = run_child("busy", pack)
    default = run_child("busy", pack, GOMP_SPINCOUNT=DEFAULT_SPIN_COUNT)
    figures |= {"busy_ratio": busy["busy_ratio"], "busy_ratio_default_spin": default["busy_ratio"]}
    show("beside a busy process per core, of its own speed", figures["busy_ratio"], 0.35)
    show("  the same with libgomp's default spin count", figures["busy_ratio_default_spin"], None)
    figures |= run_child("memory", pack)
    show("resident MB beyond the base file", figures["resident_beyond_base_mb"], 650.0)
    starts = [start_seconds(pack) for _ in range(REPETITIONS + 1)][1:]
    figures["first_token_seconds"] = statistics.median(starts)
    figures["first_token_seconds_all"] = starts
    show("s from process start to the first token", figures["first_token_seconds"], 3.0)
    return figures


def show(what: str, value: float, target: float | None) -> None:
    note = "" if target is None else f"   (target {target:g})"
    print(f"  {value:9.2f}  {what}{note}", flush=True)


def run_child(name: str, pack: str, **environment: str) -> dict[str, Any]:
    """Measures in a process of its own, so that nothing is left from the measurement before."""
    command = [sys.executable, __file__, "--child", name, "--pack", pack]
    child = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return result


# --- decoding ------------------------------------------------------------------------------------


def measure_single_sequence(pack: str) -> dict[str, Any]:
    """The engine and a bare loop, alternating; the ratio of each pair, since speed drifts."""
    with prepared_engine(pack) as (engine, prompt):
        bare = BareLoop(engine.model, engine.settings.lane, prompt)
        pairs = [
            (engine_speed(engine, prompt, 1), bare.tokens_per_second()) for _ in range(PAIRS + 1)
        ]
        bare.close()
    ratios = [mine / plain for mine, plain in pairs[1:]]  # the first pair warms up
    return {
        "engine_to_bare_ratio": round(statistics.median(ratios), 4),
        "engine_to_bare_all": [round(ratio, 4) for ratio in ratios],
        "bare_tokens_per_second": round(statistics.median(plain for _, plain in pairs[1:]), 2),
    }


def measure_widths(pack: str) -> dict[str, Any]:
    """Tokens per second of several sequences on one prompt, all together."""
    widths = (1, 2, 4, 8, 16)
    runs: dict[int, list[float]] = {width: [] for width in widths}
    with prepared_engine(pack) as (engine, prompt):
        for repetition in range(REPETITIONS + 1):
            for width in widths:
                speed = engine_speed(engine, prompt, width)
                if repetition > 0:  # the first warms up
                    runs[width].append(speed)
    medians = {width: statistics.median(speeds) for width, speeds in runs.items()}
    return {
        "tokens_per_second": {str(w): round(speed, 2) for w, speed in medians.items()},
        "tokens_per_second_all": {str(w): [round(s, 2) for s in runs[w]] for w in widths},
        "width_ratios": {str(w): round(medians[w] / medians[1], 3) for w in widths[1:]},
    }


def engine_speed(engine: Engine, prompt: tuple[int, ...], width: int) -> float:
    """Tokens per second of `width` samples on one prompt, after the first token of each."""
    # No arithmetic is in this text to be forced; looking for it is part of the engine's work.
    return writing_tokens_per_second(engine, prompt, width, TOKENS - 1, calculator=True)


class BareLoop:
    """llama_decode on one token after the other, and nothing else."""

    def __init__(self, model: Model, settings: LaneSettings, prompt: tuple[int, ...]) -> None:
        self._lane = Lane(model, settings, native.AbortFlag())
        self._context = self._lane._context._native
        self._binding = native.load()
        self._memory = self._binding.llama_get_memory(self._context)
        self._prompt = prompt
        self._batch = Batch(512)

    def _decode(self, position: int, tokens: tuple[int, ...]) -> None:
        self._batch.clear()
        self._batch.add(0, position, tokens, 1)
        if self._binding.llama_decode(self._context, self._batch.native) != 0:
            raise RuntimeError("llama_decode failed")

    def tokens_per_second(self) -> float:
        self._binding.llama_memory_clear(self._memory, True)
        self._decode(0, self._prompt)
        began = time.perf_counter()
        for i in range(TOKENS - 1):
            self._decode(len(self._prompt) + i, (self._prompt[i % len(self._prompt)],))
        return (TOKENS - 1) / (time.perf_counter() - began)

    def close(self) -> None:
        self._lane.close()


def measure_beside_busy_processes(pack: str) -> dict[str, Any]:
    """One sequence alone and beside one endless loop per core, alternating."""
    alone, beside = [], []
    with prepared_engine(pack) as (engine, prompt):
        engine_speed(engine, prompt, 1)
        for _ in range(3):
            alone.append(engine_speed(engine, prompt, 1))
            loops = [
                subprocess.Popen([sys.executable, "-c", "while True: pass"])
                for _ in range(os.cpu_count() or 1)
            ]
            try:
                time.sleep(0.5)
                beside.append(engine_speed(engine, prompt, 1))
            finally:
                for loop in loops:
                    loop.kill()
                    loop.wait()
    ratio = statistics.median(beside) / statistics.median(alone)
    return {"busy_ratio": round(ratio, 4), "alone": alone, "beside": beside}


@contextmanager
def prepared_engine(pack: str) -> Iterator[tuple[Engine, tuple[int, ...]]]:
    """An engine on the pack's bare base, and the prompt to go on from."""
    model = load_model(pack)
    settings = LaneSettings(sequence_tokens=512, sequences=16, threads=choose_threads().threads)
    engine = Engine(model, EngineSettings(settings))
    engine.prepare(BARE, [])
    yield engine, tuple(model.tokenize(PROMPT, special=True))
    engine.close()
    model.close()


def load_model(pack_name: str) -> Model:
    store = PackStore()
    return Model(store.open(store.find(pack_name)).pack.base_path)


# --- memory and start-up -------------------------------------------------------------------------


def measure_memory(pack: str) -> dict[str, Any]:
    """Three contexts (a role each), 4 samples of 1,024 tokens in each, all cells written.

    The packs carry no adapters yet, so that their roles would share one context; three are made
    here, as adapters will need them.
    """
    import psutil

    model = load_model(pack)
    base_bytes = model.path.stat().st_size
    settings = LaneSettings(sequence_tokens=1280, sequences=4, threads=choose_threads().threads)
    lanes = [Lane(model, settings, native.AbortFlag()) for _ in range(3)]
    prompt = tuple(model.tokenize(PROMPT, special=True))
    for lane in lanes:
        for ticket in range(4):
            lane.submit(ticket, GenerationRequest(prompt, 16, ticket, hold_tokens=len(prompt) - 1))
        while lane.has_work:
            lane.step()
    resident = psutil.Process().memory_info().rss
    return {
        "base_mb": round(base_bytes / 1e6, 1),
        "resident_mb": round(resident / 1e6, 1),
        "resident_beyond_base_mb": round((resident - base_bytes) / 1e6, 1),
    }


FIRST_TOKEN = """
import sys
from lorid_edge import Solver
from lorid_edge.loop.events import TextAdded
with Solver.open(sys.argv[1]) as solver:
    for event in solver.stream(sys.argv[2]):
        if isinstance(event, TextAdded):
            print("first", flush=True)
            break
"""


def start_seconds(pack: str) -> float:
    """From the start of a process to its first generated text, with the default settings."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", FIRST_TOKEN, pack, QUESTION], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "first":
        raise RuntimeError(f"the pack {pack} gave no token")
    seconds = time.perf_counter() - began
    process.wait()
    return seconds


def help_seconds() -> float:
    command = [str(Path(sys.executable).parent / "lorid-edge"), "--help"]
    times = []
    for _ in range(REPETITIONS + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def conditions() -> dict[str, Any]:
    from importlib.metadata import version

    choice = choose_threads()
    flags = [f for f in cpu_flags().split() if f.startswith(("avx", "amx", "asimd", "sve"))]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "cpu_flags": flags,
        "threads": choice.threads,
        "threads_reason": choice.reason,
        "spin_count": os.environ.get("GOMP_SPINCOUNT", str(native.SPIN_COUNT)),
        "llama_cpp_python": version("llama-cpp-python"),
        "build": native.build_flags(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "repetitions": REPETITIONS,
        "tokens": TOKENS,
    }


CHILDREN: dict[str, Callable[[str], dict[str, Any]]] = {
    "single": measure_single_sequence,
    "widths": measure_widths,
    "busy": measure_beside_busy_processes,
    "memory": measure_memory,
}

if __name__ == "__main__":
    main()
