"""Ours and peers on the same problems, in turns; prints the ratios.

    python benchmarks/peers/compare.py --peer llama --pack small --problems 30

Measure alone: on a machine without other load. The sides take turns block by block (ours, ours one
at a time, peer, ours, ...), each in a process of its own that waits meanwhile. Every finished block
is kept in a file, so that a run that was stopped goes on where it was. Problems are the last of
GSM8K's development split; its test split is not touched. See README.md for what is compared. The
last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from adapted_pack import FOLDER as PACKS
from adapted_pack import make_adapted_pack
from comparison import Block, lines_of, ratios_of, summary_of
from last_will import die_with_parent
from side_settings import SideSettings
from sides import ON_OUR_ENGINE, OURS, OURS_ALONE, PEERS

from lorid_edge.answers.judging import Judge
from lorid_edge.convert.unpacked import choose_weights
from lorid_edge.data.datasets import Split, load_dataset
from lorid_edge.data.record import Record
from lorid_edge.evaluation.in_flight import default_in_flight
from lorid_edge.packs.store import PackStore

RESULTS = Path(__file__).parents[2] / "build" / "peers" / "results"
_VERSIONS = ("lorid-edge", "llama-cpp-python", "torch", "transformers", "peft")

# Peers run with libgomp's own spin count, as they would anywhere else; and with the kernels that
# are faster for batches here, which is what ours runs with (docs/engine.md).
_ENVIRONMENT = dict(os.environ)  # as it was before llama.cpp was loaded, which sets both
_PEER_ENVIRONMENT = {"GOMP_SPINCOUNT": "300000", "GGML_CPU_TILED_MM": "0"}


def main() -> None:
    arguments = parse_arguments()
    settings = side_settings(arguments)
    sides = [OURS, OURS_ALONE, *arguments.peer]
    if arguments.without_one_at_a_time:
        sides.remove(OURS_ALONE)
    results = results_file(arguments, settings)
    blocks = read_blocks(results)
    conditions: dict[str, Any] = {**describe(arguments, settings), "sides": {}}
    print("conditions:", json.dumps(conditions, indent=1), file=sys.stderr)
    status = 0
    try:
        with ExitStack() as stack:
            processes: dict[str, SideProcess] = {}
            for side, turn, number in missing_turns(sides, arguments, blocks):
                if side not in processes:
                    processes[side] = stack.enter_context(SideProcess(side, settings))
                    conditions["sides"][side] = processes[side].conditions
                problems = problems_of(arguments, number)
                block = solve(processes[side], problems, turn, number)
                blocks[block.key] = block
                keep(block, results)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        status = 130
    report(sides, list(blocks.values()), conditions)
    sys.exit(status)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=PEERS, nargs="+", required=True)
    parser.add_argument("--pack", default="small", help="a pack's name or folder")
    parser.add_argument("--problems", type=int, default=30, help="how many, from the end")
    parser.add_argument(
        "--policy",
        choices=["ir", "dr", "paper", "vote", "counted"],
        default="counted",
        help="counted is adaptive with all votes alike: peers do not tell their certainty",
    )
    parser.add_argument("--width", type=int, default=1, help="samples of a role at once")
    parser.add_argument("--peer-width", type=int, help="the same for the peer, if another is best")
    parser.add_argument("--max-rounds", type=int, help="of the policy; its own if not given")
    parser.add_argument("--rounds", type=int, default=1, help="how often, each with another seed")
    parser.add_argument("--block", type=int, help="problems a side solves in a turn")
    parser.add_argument("--in-flight", type=int, help="problems that ours has at once; as in eval")
    parser.add_argument("--packed", action="store_true", help="ours never unpacks weights")
    parser.add_argument("--server-packed", action="store_true", help="nor does llama-server")
    parser.add_argument("--calculator", action="store_true", help="ours may use its calculator")
    parser.add_argument("--without-one-at-a-time", action="store_true", help="leave that side out")
    parser.add_argument("--slots", type=int, default=8, help="of llama-server, for each role")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--threads", type=int, help="of every side; chosen if not given")
    parser.add_argument("--results", type=Path, help="the file of finished blocks")
    arguments = parser.parse_args()
    arguments.in_flight = arguments.in_flight or default_in_flight(arguments.width)
    arguments.block = arguments.block or max(15, arguments.in_flight)
    return arguments


def side_settings(arguments: argparse.Namespace) -> SideSettings:
    """What all sides are told; makes the pack with adapters if need be."""
    folder = make_adapted_pack(arguments.pack, PACKS)
    in_flight = min(arguments.in_flight, arguments.block, arguments.problems)
    weights = None
    if not arguments.packed:
        store = PackStore()
        pack = store.find(folder)
        chosen = choose_weights(
            pack.base_path,
            pack.manifest.base.sha256,
            arguments.width * in_flight,
            store.places,
            threads=arguments.threads,
        )
        print(f"weights of ours: {chosen.reason}", file=sys.stderr)
        weights = None if chosen.file is None else str(chosen.file)
    return SideSettings(
        pack=str(folder),
        policy=arguments.policy,
        width=arguments.width,
        peer_width=arguments.peer_width or arguments.width,
        max_rounds=arguments.max_rounds,
        in_flight=in_flight,
        calculator=arguments.calculator,
        threads=arguments.threads,
        weights=weights,
        slots=arguments.slots,
        server_weights=None if arguments.server_packed else weights,
        dtype=arguments.dtype,
    )


@functools.cache
def development_problems() -> tuple[Record, ...]:
    return load_dataset("gsm8k", Split.DEVELOPMENT).records


def problems_of(arguments: argparse.Namespace, number: int) -> tuple[Record, ...]:
    """The problems of one block."""
    chosen = development_problems()[-arguments.problems :]
    return chosen[number * arguments.block : (number + 1) * arguments.block]


def results_file(arguments: argparse.Namespace, settings: SideSettings) -> Path:
    """Where blocks of exactly this comparison are kept."""
    if arguments.results is not None:
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        return Path(arguments.results)
    identity = [asdict(settings), arguments.problems, arguments.block]
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    RESULTS.mkdir(parents=True, exist_ok=True)
    peers = "-".join(arguments.peer)
    return RESULTS / f"{Path(settings.pack).name}-{peers}-{digest}.jsonl"


def read_blocks(path: Path) -> dict[tuple[str, int, int], Block]:
    """Finished blocks; a half-written last line is left out."""
    blocks: dict[tuple[str, int, int], Block] = {}
    if path.exists():
        content = path.read_text("utf-8")
        path.write_text(content[: content.rfind("\n") + 1], "utf-8")
        for line in path.read_text("utf-8").splitlines():
            block = Block(**json.loads(line))
            blocks[block.key] = block
    return blocks


def missing_turns(
    sides: list[str], arguments: argparse.Namespace, blocks: dict[tuple[str, int, int], Block]
) -> Iterator[tuple[str, int, int]]:
    """(side, round, number of the block) still to be solved, in the order of the turns.

    A block that one side lacks is solved by all again: only what ran in turns is compared.
    """
    numbers = range(-(-arguments.problems // arguments.block))
    for turn, number in itertools.product(range(arguments.rounds), numbers):
        if any((side, turn, number) not in blocks for side in sides):
            for side in sides:
                yield side, turn, number


class SideProcess:
    """A side in a process of its own. A context manager: the process ends with it."""

    def __init__(self, side: str, settings: SideSettings) -> None:
        self.side = side
        is_ours = side in (OURS, OURS_ALONE, ON_OUR_ENGINE)
        environment = _ENVIRONMENT if is_ours else {**_PEER_ENVIRONMENT, **_ENVIRONMENT}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("side.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
            preexec_fn=die_with_parent,
        )
        self.conditions = self.ask({"side": side, "settings": asdict(settings)})["conditions"]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.side} ended before its answer; see above.")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> SideProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if kind is not None:  # it may be in the middle of a block
            self._process.terminate()
        self._process.wait()


def solve(process: SideProcess, problems: tuple[Record, ...], turn: int, number: int) -> Block:
    """Have a side solve a block; what is right is judged here, when the clock has stopped."""
    questions = [problem.question for problem in problems]
    answer = process.ask({"questions": questions, "seed": turn})
    for problem, solved in zip(problems, answer["problems"], strict=True):
        solved["id"] = problem.id
        solved["right"] = Judge(str(problem.answer)).is_right(solved["answer"])
    return Block(process.side, turn, number, answer["seconds"], tuple(answer["problems"]))


def keep(block: Block, results: Path) -> None:
    """Add a block to the file, and tell of it."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(block)) + "\n")
    right = sum(problem["right"] for problem in block.problems)
    print(
        f"round {block.round + 1}, block {block.number + 1}: {block.side} "
        f"{block.seconds:.1f} s, {block.tokens} tokens, {right} of {len(block.problems)} right",
        file=sys.stderr,
        flush=True,
    )


def describe(arguments: argparse.Namespace, settings: SideSettings) -> dict[str, Any]:
    """The conditions of the run."""
    versions = {}
    for name in _VERSIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "peers": arguments.peer,
        "settings": shown(settings),
        "problems": arguments.problems,
        "block": arguments.block,
        "rounds": arguments.rounds,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def shown(settings: SideSettings) -> dict[str, Any]:
    """Settings with names of files instead of their places."""
    places = ("pack", "weights", "server_weights")
    plain = asdict(settings)
    return plain | {name: Path(plain[name]).name for name in places if plain[name]}


def report(sides: list[str], blocks: list[Block], conditions: dict[str, Any]) -> None:
    summaries = {side: summary_of(side, blocks) for side in sides}
    ours = [side for side in sides if side in (OURS, OURS_ALONE)]
    pairs = [(mine, peer) for peer in sides if peer not in ours for mine in ours]
    if OURS_ALONE in ours:
        pairs.append((OURS, OURS_ALONE))
    ratios = {f"{mine} to {other}": ratios_of(mine, other, blocks) for mine, other in pairs}
    for line in lines_of(summaries, ratios):
        print(line)
    print(json.dumps({"conditions": conditions, "sides": summaries, "ratios": ratios}))


if __name__ == "__main__":
    main()
