"""What the server promises, measured on this machine: overhead, first event, cancelling, memory.

    python benchmarks/server.py                     the pack tiny
    python benchmarks/server.py --pack standard

Measure alone: on a machine without other load. The overhead is a ratio of medians from one run, in
which the Python API and the server solve the same problems in turns. On tiny a decode takes a few
milliseconds, so that the server's share of a solve is the largest there. The last line of standard
output is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from lorid_edge import Solver
from lorid_edge.errors import CancelledError, ContextOverflowError
from lorid_edge.loading import LoadSettings
from lorid_edge.loop.events import TextAdded
from lorid_edge.packs.store import PackStore
from lorid_edge.solver import SolveSettings

PAIRS = 9
REPETITIONS = 9
CLIENTS = 32
WIDTH = 2
QUESTION = "A train travels 60 km in 45 minutes. How many km does it travel in two hours?"
SOLVE = {"question": QUESTION, "policy": "ir"}
OVERHEAD_TARGET, FIRST_EVENT_TARGET_MS, CANCEL_TARGET_MS = 0.03, 50.0, 100.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", default="tiny")
    pack = parser.parse_args().pack
    store = PackStore()
    store.pull(store.find(pack))
    report: dict[str, Any] = {
        "pack": pack,
        "width": WIDTH,
        "pairs": PAIRS,
        "repetitions": REPETITIONS,
        "cpus": psutil.cpu_count(),
        "load_before": round(psutil.getloadavg()[0], 2),
    }
    with (
        Solver.open(pack, settings=LoadSettings(width=WIDTH)) as solver,
        running_server(pack) as (client, process),
    ):
        long_question = longest_question(solver)
        show(report, {})
        steps = decode_step_ms(solver), prefill_ms(solver, long_question)
        show(report, dict(zip(("decode_step_ms", "prefill_ms"), steps, strict=True)))
        show(report, measure_overhead(solver, client))
        show(report, measure_first_event(client))
        show(report, measure_cancel(solver, client, long_question))
        show(report, measure_memory(client, process))
    print(json.dumps(report))


def show(report: dict[str, Any], figures: dict[str, Any]) -> None:
    """Print figures as they come, and add them to the report."""
    report |= figures
    for name, value in (figures or report).items():
        print(f"{name}: {value}", flush=True)


@contextlib.contextmanager
def running_server(pack: str) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A server in a process of its own, and a client that may use it."""
    command = [str(Path(sys.executable).parent / "lorid-edge"), "serve", "--pack", pack]
    options = ["--port", "0", "--json", "--width", str(WIDTH)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        started = json.loads(child.stdout.readline())
        headers = {"Authorization": f"Bearer {started['token']}"}
        with httpx.Client(base_url=started["address"], headers=headers, timeout=600) as client:
            yield client, psutil.Process(child.pid)
        child.terminate()


def measure_overhead(solver: Solver, client: httpx.Client) -> dict[str, float]:
    """How much longer a solve takes through the server, as JSON and as events, of its own time."""
    settings = SolveSettings("ir")

    def api(seed: int) -> None:
        solver.solve(QUESTION, settings=settings, seed=seed)

    def as_json(seed: int) -> None:
        client.post("/v1/solve", json={**SOLVE, "seed": seed}).raise_for_status()

    def as_events(seed: int) -> None:
        with client.stream("POST", "/v1/solve", json={**SOLVE, "seed": seed, "stream": True}) as it:
            for _ in it.iter_lines():
                pass

    ways: dict[str, Callable[[int], None]] = {"api": api, "json": as_json, "events": as_events}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(PAIRS + 1):
        names = list(ways)[seed % 3 :] + list(ways)[: seed % 3]
        for name in names:
            began = time.perf_counter()
            ways[name](seed)
            if seed:  # the first is for warming up
                seconds[name].append(time.perf_counter() - began)

    def overhead(name: str) -> float:
        ratios = [via / own for via, own in zip(seconds[name], seconds["api"], strict=True)]
        return round(statistics.median(ratios) - 1, 4)

    return {
        "solve_seconds": round(statistics.median(seconds["api"]), 3),
        "overhead_json": overhead("json"),
        "overhead_events": overhead("events"),
        "overhead_target": OVERHEAD_TARGET,
    }


def measure_first_event(client: httpx.Client) -> dict[str, float]:
    """From sending a request to its first event and its first text, when all is warm."""
    first, text = [], []
    for seed in range(REPETITIONS + 1):
        began = time.perf_counter()
        with client.stream("POST", "/v1/solve", json={**SOLVE, "seed": seed, "stream": True}) as it:
            lines = it.iter_lines()
            next(line for line in lines if line.startswith("event:"))
            first.append(time.perf_counter() - began)
            next(line for line in lines if line == "event: text_added")
            text.append(time.perf_counter() - began)
    return {
        "first_event_ms": median_ms(first[1:]),
        "first_event_largest_ms": round(1000 * max(first[1:]), 1),
        "first_event_target_ms": FIRST_EVENT_TARGET_MS,
        "first_text_ms": median_ms(text[1:]),
    }


def measure_cancel(solver: Solver, client: httpx.Client, long_question: str) -> dict[str, float]:
    """From cancelling, in a prompt and in generation, to the end of the work.

    Of the server: from a client's going away to the first event of the request that waited.
    """
    in_prefill = [api_cancel_seconds(solver, long_question, False) for _ in range(REPETITIONS)]
    in_decoding = [api_cancel_seconds(solver, QUESTION, True) for _ in range(REPETITIONS)]
    away_prefill = [server_cancel_seconds(client, long_question, False) for _ in range(REPETITIONS)]
    away_decoding = [server_cancel_seconds(client, QUESTION, True) for _ in range(REPETITIONS)]
    measured = {
        "api_cancel_in_prefill": in_prefill,
        "api_cancel_in_decoding": in_decoding,
        "server_cancel_in_prefill": away_prefill,
        "server_cancel_in_decoding": away_decoding,
    }
    figures = {f"{name}_ms": median_ms(seconds) for name, seconds in measured.items()}
    largest = {f"{name}_largest_ms": round(1000 * max(s), 1) for name, s in measured.items()}
    return {**figures, **largest, "cancel_target_ms_beside_a_step": CANCEL_TARGET_MS}


def api_cancel_seconds(solver: Solver, question: str, in_decoding: bool) -> float:
    stream = solver.stream(question, settings=SolveSettings("vote", max_rounds=32))
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(time.perf_counter())
        stream.cancel()

    try:
        for event in stream:
            if not cancelled_at and (not in_decoding or isinstance(event, TextAdded)):
                cancelled_at.append(0.0)
                timer = threading.Timer(0.03, cancel)
                timer.start()
    except CancelledError:
        return time.perf_counter() - cancelled_at[-1]
    raise AssertionError("the work was done before it was cancelled")


def server_cancel_seconds(client: httpx.Client, question: str, in_decoding: bool) -> float:
    body = {"question": question, "policy": "vote", "max_rounds": 32, "stream": True}
    awaited = "event: text_added" if in_decoding else "event: role_started"
    with client.stream("POST", "/v1/solve", json=body) as running:
        running_lines = running.iter_lines()  # kept: httpx closes a response with its iterator
        next(line for line in running_lines if line == awaited)
        with client.stream("POST", "/v1/solve", json={**SOLVE, "stream": True}) as waiting:
            lines = waiting.iter_lines()
            began = time.perf_counter()
            running.close()
            next(line for line in lines if line.startswith("event:"))
            return time.perf_counter() - began


def measure_memory(client: httpx.Client, process: psutil.Process) -> dict[str, float]:
    """The server's resident memory before and with many clients that stream at once."""
    before = process.memory_info().rss
    largest = before
    body = {**SOLVE, "stream": True}

    def ask() -> None:
        with client.stream("POST", "/v1/solve", json=body) as response:
            for _ in response.iter_lines():
                pass

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        largest = max(largest, process.memory_info().rss)
        time.sleep(0.05)
    return {
        "clients": CLIENTS,
        "resident_mb": round(before / 1e6, 1),
        "resident_grown_with_clients_mb": round((largest - before) / 1e6, 1),
    }


def longest_question(solver: Solver) -> str:
    """About the longest question that fits, so that its prompt takes long to evaluate."""
    for words in range(1500, 0, -25):
        question = "What is this sum? " + " ".join(str(100 + n % 900) for n in range(words))
        with contextlib.suppress(ContextOverflowError):
            solver.check(question)
            return question[:8000]
    raise AssertionError("no question fits")


def prefill_ms(solver: Solver, question: str) -> float:
    """From the first event to the first text of the long question."""
    stream = solver.stream(question, settings=SolveSettings("ir"))
    with stream:
        next(stream)
        began = time.perf_counter()
        next(event for event in stream if isinstance(event, TextAdded))
        return round(1000 * (time.perf_counter() - began), 1)


def decode_step_ms(solver: Solver) -> float:
    """The time of one decode with all samples of a role, as a median."""
    times = []
    with solver.stream(QUESTION, settings=SolveSettings("vote", max_rounds=1)) as stream:
        for event in stream:
            if isinstance(event, TextAdded) and event.index == 0:
                times.append(time.perf_counter())
    return median_ms([after - before for before, after in itertools.pairwise(times)])


def median_ms(seconds: list[float]) -> float:
    """The median, in milliseconds."""
    return round(1000 * statistics.median(seconds), 2)


if __name__ == "__main__":
    main()
