"""Policies against each other on the same problems: accuracy and tokens, paired.

    python benchmarks/policies.py --data train.jsonl --last 100 --pack standard

`--data` is GSM8K's training split in its original JSON lines; the last problems of it are the
development split. The test split is for reported results alone and is refused. Every solution is
kept in `--output`; a killed run goes on where it stopped. A sample that one policy drew is played
back to the others (`recorded_samples`), so that they are compared on the same draws. The last line
of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from recorded_samples import RecordedEngine, RecordedSamples
from scipy.stats import binomtest

from lorid_edge.answers import reference_answer, same_answer
from lorid_edge.engine.engine import Engine
from lorid_edge.loading import LoadSettings
from lorid_edge.solver import Solver, SolveSettings

TRAINING_PROBLEMS = 7473


def main() -> None:
    arguments = parse_arguments()
    problems = read_problems(arguments.data, arguments.last)
    results = read_results(arguments.output)
    samples = RecordedSamples()
    for record in results.values():
        samples.add(record)
    settings = LoadSettings(width=arguments.width, in_flight=arguments.in_flight)
    with Solver.open(arguments.pack, settings=settings) as live:
        engine = RecordedEngine(live.loaded.workplace.engine, samples)
        workplace = replace(live.loaded.workplace, engine=cast(Engine, engine))
        solver = Solver(
            replace(live.loaded, workplace=workplace), arguments.width, arguments.in_flight
        )
        for policy in arguments.policies:
            todo = [p for p in problems if (policy, p["question"].strip()) not in results]
            engine.questions = [problem["question"] for problem in todo]
            for record in run_policy(solver, policy, todo, arguments):
                results[policy, record["question"]] = record
                samples.add(record)
    rows = [summarise(policy, problems, results) for policy in arguments.policies]
    for row in rows:
        print(describe(row))
    comparisons = [
        compare(first, second, problems, results)
        for i, first in enumerate(arguments.policies)
        for second in arguments.policies[i + 1 :]
    ]
    conditions = {
        "pack": arguments.pack,
        "problems": len(problems),
        "width": arguments.width,
        "in_flight": arguments.in_flight,
        "seed": arguments.seed,
    }
    print(json.dumps({"conditions": conditions, "policies": rows, "comparisons": comparisons}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="GSM8K's train.jsonl")
    parser.add_argument("--last", type=int, default=100, help="how many problems, from the end")
    parser.add_argument("--pack", default="standard")
    parser.add_argument("--policies", nargs="+", default=["paper", "adaptive", "ir", "dr"])
    parser.add_argument("--width", type=int, default=1, help="samples of a role at once")
    parser.add_argument("--in-flight", type=int, default=2, help="problems at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("build/policies.jsonl"))
    return parser.parse_args()


def read_problems(path: Path, last: int) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) != TRAINING_PROBLEMS:
        sys.exit(f"{path} has {len(lines)} lines; GSM8K's training split has {TRAINING_PROBLEMS}.")
    return [json.loads(line) for line in lines[-last:]]


def read_results(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Earlier solutions by policy and question; a half-written last line is left out."""
    if not path.exists():
        return {}
    results = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        results[record["policy"], record["question"]] = record
    return results


def run_policy(
    solver: Solver, policy: str, todo: list[dict[str, str]], arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Solve `todo` and yield each solution, written to the output, as it comes."""
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    settings = SolveSettings(policy=policy, seed=arguments.seed)
    with arguments.output.open("a", encoding="utf-8") as output:
        solutions = solver.solve_many([p["question"] for p in todo], settings=settings)
        for done, (position, solution) in enumerate(solutions, start=1):
            record = json.loads(solution.to_json())
            reference = reference_answer(todo[position]["answer"])
            record["question"] = todo[position]["question"].strip()
            record["correct"] = bool(
                solution.answer is not None and same_answer(solution.answer, reference)
            )
            output.write(json.dumps(record) + "\n")
            output.flush()
            print(f"{policy}: {done} of {len(todo)}", file=sys.stderr)
            yield record


def summarise(
    policy: str, problems: list[dict[str, str]], results: dict[tuple[str, str], dict[str, Any]]
) -> dict[str, Any]:
    records = [results[policy, p["question"].strip()] for p in problems]
    right = sum(record["correct"] for record in records)
    interval = binomtest(right, len(records)).proportion_ci(method="wilson")
    agreed = [record for record in records if record["status"] != "undecided"]
    forced = sum(s["calculator_results"] for record in records for s in record["samples"])
    differed = sum(s["calculator_corrections"] for record in records for s in record["samples"])
    return {
        "policy": policy,
        "accuracy_percent": round(100 * right / len(records), 1),
        "low_percent": round(100 * interval.low, 1),
        "high_percent": round(100 * interval.high, 1),
        "tokens_per_problem": round(sum(r["tokens"]["generated"] for r in records) / len(records)),
        "samples_per_problem": round(sum(len(r["samples"]) for r in records) / len(records), 2),
        "decided_percent": round(100 * len(agreed) / len(records), 1),
        "right_when_decided_percent": (
            round(100 * sum(r["correct"] for r in agreed) / len(agreed), 1) if agreed else None
        ),
        "calculator_results": forced,
        "calculator_corrections": differed,
    }


def describe(row: dict[str, Any]) -> str:
    return (
        f"{row['policy']:9} {row['accuracy_percent']:5.1f} % right "
        f"({row['low_percent']:.1f} to {row['high_percent']:.1f}), "
        f"{row['tokens_per_problem']:5} tokens and {row['samples_per_problem']:5} samples a problem"
    )


def compare(
    first: str,
    second: str,
    problems: list[dict[str, str]],
    results: dict[tuple[str, str], dict[str, Any]],
) -> dict[str, Any]:
    """Paired: problems that only one of the two got right, with the exact McNemar test."""
    pairs = [
        (results[first, p["question"].strip()], results[second, p["question"].strip()])
        for p in problems
    ]
    only_first = sum(a["correct"] and not b["correct"] for a, b in pairs)
    only_second = sum(b["correct"] and not a["correct"] for a, b in pairs)
    discordant = only_first + only_second
    tokens = [sum(pair[i]["tokens"]["generated"] for pair in pairs) for i in (0, 1)]
    return {
        "first": first,
        "second": second,
        "only_first_right": only_first,
        "only_second_right": only_second,
        "mcnemar_p": round(binomtest(only_first, discordant).pvalue, 3) if discordant else None,
        "tokens_ratio_second_to_first": round(tokens[1] / tokens[0], 3),
    }


if __name__ == "__main__":
    main()
