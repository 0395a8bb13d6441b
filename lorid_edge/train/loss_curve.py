"""The loss curve of a role: JSON lines that stay in order when a run is gone on with, a picture."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lorid_edge.train.job import StepReport

CURVE_NAME = "loss.jsonl"
PICTURE_NAME = "loss.svg"
_SMOOTHED_STEPS = 20


class LossCurve:
    """Appends the steps of a run to its `loss.jsonl`, one JSON object a line.

    A run that was killed goes on from its last checkpoint: steps after that are in the file and
    come again. The first step of a run therefore cuts off all lines that it makes obsolete.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / CURVE_NAME
        self._began = time.monotonic()
        self._seconds_before: float | None = None

    def add(self, report: StepReport) -> None:
        """Append a step, with the seconds so far, loading included. Raises OSError."""
        if self._seconds_before is None:
            kept = [row for row in read_curve(self.path) if row["step"] < report.step]
            self._seconds_before = kept[-1]["seconds"] if kept else 0.0
            self._rewrite(kept)
        seconds = self._seconds_before + time.monotonic() - self._began
        row = {**asdict(report), "seconds": round(seconds, 2)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        temporary.replace(self.path)


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The rows of a curve, up to the first that is torn; none where there is no file."""
    rows = []
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not line.endswith("\n") or not isinstance(row, dict) or "seconds" not in row:
            break
        rows.append(row)
    return rows


def draw_curve(folder: Path, title: str) -> Path:
    """Draw `loss.jsonl` of a folder as `loss.svg` and return its path."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows = read_curve(folder / CURVE_NAME)
    steps = [row["step"] for row in rows]
    losses = [row["loss"] for row in rows]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="0.75", linewidth=1, label="each step")
    axes.plot(steps, _smoothed(losses), color="tab:blue", label=f"mean of {_SMOOTHED_STEPS} steps")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per completion token)")
    axes.set_title(title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path = folder / PICTURE_NAME
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    figure.savefig(temporary, format="svg", metadata={"Date": None})
    temporary.replace(path)
    return path


def _smoothed(values: list[float]) -> list[float]:
    """The mean of each value and those just before it."""
    windows = (values[max(0, end - _SMOOTHED_STEPS) : end] for end in range(1, len(values) + 1))
    return [sum(window) / len(window) for window in windows]
