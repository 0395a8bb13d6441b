"""Seconds a problem by width and by problems in flight, and a picture of both.

    python benchmarks/widths.py --pack small --problems 30

Width is the number of samples of a role that are decoded at once for one problem; problems in
flight are decoded together. One grows while the other is 1. Measure alone: on a machine without
other load. Every setting solves the same development problems of GSM8K (the last ones) in a process
of its own and is kept in `--output`, so that a run that was stopped goes on where it was. The last
line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lorid_edge.answers.judging import Judge
from lorid_edge.data.datasets import Split, load_dataset
from lorid_edge.evaluation.in_flight import with_faster_weights
from lorid_edge.evaluation.variants import load_solver
from lorid_edge.loading import LoadSettings
from lorid_edge.packs.store import PackStore
from lorid_edge.solver import SolveSettings
from lorid_edge.whole_files import write_json

WIDTHS = (1, 2, 4, 8, 16)
IN_FLIGHT = (1, 2, 4, 8, 16, 32)
OUTPUT = Path(__file__).parents[1] / "build" / "widths"


def main() -> None:
    arguments = parse_arguments()
    if arguments.child is not None:
        print(json.dumps(measure(arguments, *arguments.child)))
        return
    folder = arguments.output / f"{Path(arguments.pack).name}-{arguments.policy}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = [(width, 1) for width in arguments.widths]
    settings += [(1, count) for count in arguments.in_flight if (1, count) not in settings]
    rows = [kept_or_measured(folder, arguments, *setting) for setting in settings]
    by_width = [row for row in rows if row["in_flight"] == 1]
    by_flight = [row for row in rows if row["width"] == 1]
    for row in rows:
        print(describe(row))
    pictures = draw(folder, arguments, by_width, by_flight)
    fastest = min(rows, key=lambda row: float(row["seconds_per_problem"]))
    report = {
        "conditions": identity(arguments) | {"cpus": os.cpu_count()},
        "by_width": by_width,
        "by_problems_in_flight": by_flight,
        "fastest": {name: fastest[name] for name in ("width", "in_flight", "seconds_per_problem")},
        "pictures": [str(path) for path in pictures],
    }
    print(json.dumps(report))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", default="small", help="a pack's name or folder")
    parser.add_argument("--policy", default="adaptive")
    parser.add_argument("--problems", type=int, default=30, help="how many, from the end")
    parser.add_argument("--max-rounds", type=int, help="of the policy; its own if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--in-flight", type=int, nargs="*", default=IN_FLIGHT)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def identity(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a kept figure has to have in common with this run to be taken."""
    names = ("pack", "policy", "problems", "max_rounds", "seed")
    return {name: getattr(arguments, name) for name in names}


def kept_or_measured(
    folder: Path, arguments: argparse.Namespace, width: int, in_flight: int
) -> dict[str, Any]:
    """The figures of one setting, from an earlier run of the same kind or from a new process."""
    path = folder / f"width-{width}-in-flight-{in_flight}.json"
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if kept["of"] == identity(arguments):
            return kept
    print(f"width {width}, {in_flight} in flight ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--child", str(width), str(in_flight)]
    for name, value in identity(arguments).items():
        command += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    write_json(path, row)
    return row


def measure(arguments: argparse.Namespace, width: int, in_flight: int) -> dict[str, Any]:
    """Solve the problems once; loading and what is the same for all problems are not timed."""
    problems = load_dataset("gsm8k", Split.DEVELOPMENT).records[-arguments.problems :]
    store = PackStore()
    verified = store.open(store.find(arguments.pack))
    wanted = LoadSettings(width=width, in_flight=in_flight)
    settings = with_faster_weights(verified, wanted, None, store.places)  # as eval does
    solving = SolveSettings(arguments.policy, arguments.max_rounds, arguments.seed)
    with load_solver(verified, settings, store) as solver:
        began = time.perf_counter()
        questions = [problem.question for problem in problems]
        solutions = dict(solver.solve_many(questions, settings=solving))
        seconds = time.perf_counter() - began
    right = (Judge(str(p.answer)).is_right(solutions[i].answer) for i, p in enumerate(problems))
    tokens = sum(solution.tokens.generated for solution in solutions.values())
    return {
        "of": identity(arguments),
        "width": width,
        "in_flight": in_flight,
        "weights": "packed" if settings.weights is None else "unpacked",
        "seconds_per_problem": round(seconds / len(problems), 4),
        "tokens_per_problem": round(tokens / len(problems), 1),
        "tokens_per_second": round(tokens / seconds, 2),
        "right": sum(right),
    }


def describe(row: dict[str, Any]) -> str:
    return (
        f"width {row['width']:2}, {row['in_flight']:2} in flight: "
        f"{row['seconds_per_problem']:7.2f} s and {row['tokens_per_problem']:6.1f} tokens a "
        f"problem, {row['tokens_per_second']:6.1f} tokens/s, {row['right']} right, "
        f"{row['weights']} weights"
    )


def draw(
    folder: Path,
    arguments: argparse.Namespace,
    by_width: list[dict[str, Any]],
    by_flight: list[dict[str, Any]],
) -> list[Path]:
    """Both curves in one picture, as PNG and SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    curves = (
        ("width, with 1 problem in flight", "width", by_width),
        ("problems in flight, at width 1", "in_flight", by_flight),
    )
    for label, name, rows in curves:
        rows = sorted(rows, key=lambda row: int(row[name]))
        counts = [row[name] for row in rows]
        axes.plot(counts, [row["seconds_per_problem"] for row in rows], marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("samples of a role, or problems, decoded together")
    axes.set_ylabel("seconds a problem")
    axes.set_title(
        f"{Path(arguments.pack).name}, {arguments.policy}, {arguments.problems} problems"
    )
    axes.grid(alpha=0.3)
    axes.legend()
    paths = [folder / f"seconds-a-problem.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)
    return paths


if __name__ == "__main__":
    main()
