"""How the packs compare: accuracy against the base's size and against seconds a problem.

    python benchmarks/pack_accuracy.py

Reads the results in the packs' own manifests, each of which names its command, and draws
docs/images/pack-accuracy.svg. Beside them stand the accuracies that the paper reports for its 7B
and 8B bases, from float16 weights, one model of three. All are of GSM8K's test split; the packs'
results on the development split are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorid_edge.packs.manifest import PackManifest, Result, load_manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parent.parent
COLOURS = {"tiny": "#8a6fd1", "small": "#d9762b", "standard": "#2f7fd1"}
PACKS = tuple(COLOURS)
MARKERS = {"ir": "o", "dr": "s", "paper": "v", "vote": "D", "adaptive": "^"}
GREY = "#777777"
ASIDE = 1.07  # points of one size stand beside each other, or else their intervals hide them
LABEL_PERCENT = 3.8  # the height of a label
# LoRID (IJCAI 2025), GSM8K: base, float16 bytes of its weights, percent right by the whole loop.
PUBLISHED = (
    ("LLaMA-2 7B", 13.5e9, 78.5),
    ("Mistral 7B", 14.5e9, 84.2),
    ("LLaMA-3 8B", 16.1e9, 87.9),
    ("DeepSeekMath 7B", 13.8e9, 90.0),
    ("Qwen2.5-Math 7B", 15.2e9, 91.7),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the accuracy of the packs.")
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs/images/pack-accuracy.svg")
    arguments = parser.parse_args()
    manifests = [load_manifest(arguments.models / name) for name in PACKS]
    manifests = [manifest for manifest in manifests if on_test_split(manifest)]
    draw(manifests, arguments.output)
    for manifest in manifests:
        for result in on_test_split(manifest):
            print(f"{manifest.name:10} {result.policy:10} {result.accuracy_percent:5.1f} %")
    print(arguments.output)


def on_test_split(manifest: PackManifest) -> list[Result]:
    """The results that stand on the scale of the published ones; a policy may have none yet."""
    split = "GSM8K, test split"
    return [result for result in manifest.results if result.dataset.startswith(split)]


def draw(manifests: Sequence[PackManifest], output: Path) -> None:
    """Write both panels as one picture; its suffix says in which format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams.update({"svg.hashsalt": "lorid-edge", "svg.fonttype": "none"})
    figure, (by_size, by_seconds) = pyplot.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for manifest in manifests:
        results = on_test_split(manifest)
        sizes = [manifest.base.bytes / 1e9 * ASIDE**number for number in range(len(results))]
        points(by_size, manifest.name, results, sizes)
        points(by_seconds, manifest.name, results, [r.seconds_per_problem for r in results])
    published(by_size)
    by_size.set(
        xscale="log",
        xlabel="base model, GB",
        ylabel="right, % of GSM8K's test split",
        ylim=(0, 100),
    )
    by_seconds.set(xscale="log", xlabel="seconds a problem, two CPU cores, 32 in flight")
    for axes, ticks in ((by_size, (0.1, 0.3, 1, 3, 10)), (by_seconds, (0.3, 1, 3, 10, 30))):
        axes.set_xlim(ticks[0] / 1.5, ticks[-1] * 2)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    legend(by_seconds, manifests)
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None} if output.suffix == ".svg" else None)
    pyplot.close(figure)


def points(axes: Axes, pack: str, results: Sequence[Result], positions: Sequence[float]) -> None:
    """One point for each policy, with its 95 % interval."""
    for result, position in zip(results, positions, strict=True):
        reach = [
            [result.accuracy_percent - result.low_percent],
            [result.high_percent - result.accuracy_percent],
        ]
        axes.errorbar(
            position,
            result.accuracy_percent,
            yerr=reach,
            marker=MARKERS[result.policy],
            color=COLOURS[pack],
            capsize=2,
            elinewidth=0.8,
            linestyle="none",
        )


def published(axes: Axes) -> None:
    """The paper's own figures, with labels that keep clear of each other."""
    height = 0.0
    for name, size_bytes, percent in PUBLISHED:
        axes.plot(size_bytes / 1e9, percent, marker="*", color=GREY, markersize=9)
        height = max(percent, height + LABEL_PERCENT)
        axes.text(11.5, height, name, ha="right", va="center", fontsize=8, color=GREY)


def legend(axes: Axes, manifests: Sequence[PackManifest]) -> None:
    """Colours for packs, markers for policies, a star for what others published."""
    from matplotlib.lines import Line2D

    def entry(marker: str, colour: str, label: str) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, color=colour, label=label)

    entries = [entry("o", COLOURS[manifest.name], manifest.name) for manifest in manifests]
    drawn = {result.policy for manifest in manifests for result in on_test_split(manifest)}
    entries += [entry(MARKERS[policy], "black", policy) for policy in MARKERS if policy in drawn]
    entries.append(entry("*", GREY, "LoRID, published, float16"))
    axes.legend(handles=entries, fontsize=8, ncols=2, frameon=False, loc="upper left")


if __name__ == "__main__":
    main()
