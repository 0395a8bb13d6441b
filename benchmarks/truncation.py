"""What a lower rank saves and costs: size, error and decode speed, with a plot.

    python benchmarks/truncation.py --pack standard --plot docs/images/ranks.png

An adapter of rank 512 on q and v, the shape that the authors of LoRID publish, and one of rank 64
on all linear layers. Their values are random with singular values that fall as 1 / i; how fast
those of a trained adapter fall has to be seen with `convert truncate`. Speeds are ratios to the
bare base within each round; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from random_adapter import RandomAdapter, write_random_adapter

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.native_logits import native_logits, tokenize
from lorid_edge.convert.truncate import Truncation, truncate
from lorid_edge.convert.verification import Tolerance, compare, limited
from lorid_edge.convert.verification_prompts import PROMPTS
from lorid_edge.engine import native
from lorid_edge.engine.lane import Lane, LaneSettings
from lorid_edge.engine.model import BARE, AdapterKey, Model
from lorid_edge.engine.sequence import GenerationRequest
from lorid_edge.engine.threads import choose_threads
from lorid_edge.formats.base_model import check_base
from lorid_edge.packs.store import PackStore

ADAPTERS = {
    "q and v": (
        RandomAdapter(
            rank=512,
            alpha=1024,
            decay=1.0,
            strength=0.1,
            modules=("self_attn.q_proj", "self_attn.v_proj"),
        ),
        (512, 64, 16, 8),
    ),
    "all linear": (RandomAdapter(rank=64, alpha=128, decay=1.0, strength=0.1), (64, 16, 8)),
}
DECODED_TOKENS = 48
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure truncated adapters.")
    parser.add_argument("--pack", default="standard")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--positions", type=int, default=256)
    arguments = parser.parse_args()
    base = PackStore().find(arguments.pack).base_path
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for targets, (drawn, ranks) in ADAPTERS.items():
            rows += _truncated(base, Path(name), targets, drawn, ranks, arguments.positions)
        _time(base, rows)
    for row in rows:
        print(
            f"{row['targets']:11} rank {row['rank']:4} {row['bytes'] / 1e6:8.1f} MB  "
            f"relative error {row['relative_error']:.3f}  KL {row['mean_divergence']:.2e}  "
            f"next token kept {100 * row['next_token_agreement']:5.1f} %  "
            f"speed {row['speed']:.3f} ({row['least_speed']:.3f} to {row['most_speed']:.3f})"
        )
    if arguments.plot:
        _plot(rows, arguments.pack, arguments.plot)
    print(json.dumps({"pack": arguments.pack, "rows": [_without_path(row) for row in rows]}))


def _truncated(
    base: Path,
    folder: Path,
    targets: str,
    drawn: RandomAdapter,
    ranks: Sequence[int],
    positions: int,
) -> list[dict[str, Any]]:
    """Convert, truncate, and compare each rank with the first one, all on the base as shipped."""
    peft = write_random_adapter(drawn, check_base(base), folder / targets)
    prompts = limited(tokenize(base, PROMPTS), positions)
    bare = [logits.argmax(axis=1) for logits in native_logits(base, prompts, None)]
    whole = folder / f"{targets}-{ranks[0]}.gguf"
    convert_lora(LoraConversion(peft, base, whole, "f16"))
    reference = list(native_logits(base, prompts, whole))
    rows = []
    for rank in ranks:
        path, error = whole, 0.0
        if rank != ranks[0]:
            path = folder / f"{targets}-{rank}.gguf"
            error = truncate(Truncation(whole, path, rank=rank)).relative_error
        found = compare(reference, list(native_logits(base, prompts, path)), bare, Tolerance())
        rows.append(
            {
                "targets": targets,
                "rank": rank,
                "path": path,
                "bytes": path.stat().st_size,
                "relative_error": error,
                "mean_divergence": found.mean_divergence,
                "next_token_agreement": found.next_token_agreement,
                "changed_by_adapter": found.changed_by_adapter,
            }
        )
        print(f"{targets}, rank {rank}: compared", flush=True)
    return rows


def _time(base: Path, rows: list[dict[str, Any]]) -> None:
    """Decode under each adapter in turn, on one model with a context for each."""
    model = Model(base)
    lanes = [_lane(model, None)]
    for row in rows:
        model.load_adapter(row["path"], str(row["path"]))
        lanes.append(_lane(model, str(row["path"])))
    ratios: dict[int, list[float]] = {number: [] for number in range(len(rows))}
    for round_number in range(ROUNDS + 1):
        speeds = [_tokens_per_second(lane) for lane in lanes]
        if round_number:  # the first warms up
            for number in range(len(rows)):
                ratios[number].append(speeds[number + 1] / speeds[0])
    for number, row in enumerate(rows):
        row["speed"] = statistics.median(ratios[number])
        row["least_speed"], row["most_speed"] = min(ratios[number]), max(ratios[number])
    for lane in lanes:
        lane.close()
    model.close()


def _lane(model: Model, sha256: str | None) -> Lane:
    settings = LaneSettings(sequence_tokens=512, sequences=1, threads=choose_threads(None).threads)
    lane = Lane(model, settings, native.AbortFlag())
    lane.switch(BARE if sha256 is None else AdapterKey(sha256))
    return lane


def _tokens_per_second(lane: Lane) -> float:
    prompt = tuple(range(100, 132))
    lane.submit(0, GenerationRequest(prompt, max_tokens=DECODED_TOKENS, seed=0, key=lane.key))
    lane.step()  # the prompt
    steps, began = 0, time.perf_counter()
    while lane.has_work:
        lane.step()
        steps += 1
    return steps / (time.perf_counter() - began)


def _without_path(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "path"}


def _plot(rows: list[dict[str, Any]], pack: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measures = (
        ("bytes", "size in MB", 1e-6, True),
        ("relative_error", "relative error of what the adapter adds", 1, False),
        ("speed", "decode speed, of the bare base's", 1, False),
    )
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, (key, title, factor, is_logarithmic) in zip(axes, measures, strict=True):
        for targets in ADAPTERS:
            chosen = [row for row in rows if row["targets"] == targets]
            ranks = [row["rank"] for row in chosen]
            axis.plot(ranks, [row[key] * factor for row in chosen], marker="o", label=targets)
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted({row["rank"] for row in rows}))
        axis.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        if is_logarithmic:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0, top=max(1.0, axis.get_ylim()[1]))
        axis.set_xlabel("rank")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.suptitle(f"Truncated adapters on {pack}", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
