"""The figures of a report, as SVG that stands inside an HTML page.

Text and axes take the page's text colour, so that they are seen on a light and on a dark page; the
colours of the runs are seen on both. Runs differ in their markers too. Needs matplotlib.
"""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lorid_edge.errors import LoridError
from lorid_edge.evaluation.accuracy import Accuracy
from lorid_edge.evaluation.report.measured import MeasuredRun
from lorid_edge.roles import Role

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_INCHES, HEIGHT_INCHES = 5.4, 3.8
# Stands for the page's text colour until the picture is made; nothing else has this colour.
_INK = "#010203"
_COLOURS = ("#2f7fd1", "#d9762b", "#2f9e6e", "#c2528b", "#8a6fd1", "#a08a1f", "#d14b4b", "#4aa3b5")
_MARKERS = "osD^vP*X"
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": _INK,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "lorid-edge",
    "text.color": _INK,
    "text.parse_math": False,  # a dollar sign in a name is one
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def require_matplotlib() -> None:
    """Raise LoridError if the extra `report` is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise LoridError(
            "the figures of a report need matplotlib. Run: pip install 'lorid-edge[report]'"
        )


def accuracy_against_tokens(runs: Sequence[MeasuredRun]) -> str:
    """Accuracy with its 95 % interval over generated tokens a problem, a point for each run."""

    def draw(axes: Axes) -> None:
        for number, measured in enumerate(runs):
            accuracy = measured.summary.accuracy
            axes.errorbar(
                measured.summary.tokens.generated,
                accuracy.percent,
                yerr=_reach(accuracy),
                label=measured.name,
                capsize=3,
                **_look(number),
            )
        axes.set(xlabel="generated tokens a problem", ylabel="accuracy (%)", xlim=(0, None))
        axes.set_ylim(0, 100)

    return _picture("accuracy", draw)


def reliability(runs: Sequence[MeasuredRun]) -> str:
    """Accuracy over confidence; on the diagonal they are equal. Larger marks hold more problems."""

    def draw(axes: Axes) -> None:
        axes.plot((0, 1), (0, 100), color=_INK, alpha=0.5, linestyle="dashed", linewidth=1)
        for number, measured in enumerate(runs):
            bins, look = measured.summary.calibration.bins, _look(number)
            confidence = [item.confidence for item in bins]
            percent = [item.accuracy.percent for item in bins]
            axes.plot(confidence, percent, linewidth=1, label=measured.name, **look)
            for item in bins:
                share = item.accuracy.problems / measured.summary.accuracy.problems
                axes.scatter(
                    item.confidence,
                    item.accuracy.percent,
                    s=20 + 400 * share,
                    color=look["color"],
                    marker=look["marker"],
                    alpha=0.35,
                )
                if len(runs) == 1:
                    axes.errorbar(
                        item.confidence,
                        item.accuracy.percent,
                        yerr=_reach(item.accuracy),
                        color=look["color"],
                        capsize=3,
                    )
        axes.set(xlabel="confidence", ylabel="right (%)", xlim=(-0.03, 1.03), ylim=(-3, 103))

    return _picture("reliability", draw)


def rounds(runs: Sequence[MeasuredRun]) -> str:
    """The share of problems that took so many rounds, a bar for each run."""

    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        most = max(max(measured.summary.rounds) for measured in runs)
        bar_width = 0.8 / len(runs)
        for number, measured in enumerate(runs):
            summary = measured.summary
            shares = [
                100 * summary.rounds.get(count, 0) / summary.accuracy.problems
                for count in range(1, most + 1)
            ]
            offset = bar_width * (number - (len(runs) - 1) / 2)
            places = [count + offset for count in range(1, most + 1)]
            axes.bar(places, shares, bar_width, label=measured.name, color=_look(number)["color"])
        axes.set(xlabel="rounds", ylabel="problems (%)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)

    return _picture("rounds", draw)


def at_each_k(runs: Sequence[MeasuredRun], role: Role) -> str | None:
    """pass@k (dashed) and majority@k of a reasoner; None where no run has two samples of it."""
    curves = [
        (number, measured, measured.summary.at_k[role])
        for number, measured in enumerate(runs)
        if len(measured.summary.at_k[role]) > 1
    ]
    if not curves:
        return None
    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        for number, measured, values in curves:
            k = [item.k for item in values]
            look = _look(number)
            passed = [100 * item.pass_share for item in values]
            voted = [100 * item.majority_share for item in values]
            axes.plot(k, passed, linestyle="dashed", label=f"{measured.name}, pass@k", **look)
            axes.plot(k, voted, label=f"{measured.name}, majority@k", **look)
        axes.set(xlabel="k samples", ylabel="right (%)", ylim=(0, 100))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return _picture(f"at-k-{role.value.replace('_', '-')}", draw)


def _look(number: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[(number + number // len(_COLOURS)) % len(_MARKERS)],
    }


def _reach(accuracy: Accuracy) -> list[list[float]]:
    """How far the interval goes below and above, as matplotlib takes it."""
    low, high = accuracy.interval_percent
    return [[accuracy.percent - low], [high - accuracy.percent]]


def _picture(name: str, draw: Callable[[Axes], None]) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        entries = len(axes.get_legend_handles_labels()[0])
        figure.legend(loc="outside lower center", ncols=1 if entries < 3 else 2, fontsize="small")
        output = io.StringIO()
        figure.savefig(output, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(output.getvalue(), name)


def _for_page(svg: str, name: str) -> str:
    """The svg element alone, in the page's colour and with ids that no other figure has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace(_INK, "currentColor")
    return svg.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)
