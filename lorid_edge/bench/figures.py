"""What is measured: single measurements, and the figures that runs of them add up to.

A figure is a median with its spread over runs. Everything that shows figures (terminal, page, JSON)
goes through `group`, so that all of them show the same.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

Part = Literal["speed", "memory", "policies"]
Labels = tuple[tuple[str, str | int], ...]

PART_TITLES: dict[Part, str] = {
    "speed": "Speed",
    "memory": "Start and memory",
    "policies": "Whole problems",
}

BARE_BASE = "none"
"""The label `adapter` of what was measured without one."""

NOTHING_RIGHT = "no right answer"
"""What is shown for an infinite value: only costs of each right answer can be infinite."""


@dataclass(frozen=True)
class Kind:
    """What a figure of that name is, for people.

    Attributes:
        title: kinds of the same title are shown together and share a scale.
        case: what tells it apart from those.
    """

    part: Part
    title: str
    unit: str
    digits: int = 1
    case: str = ""


_SWITCHING = "Switching adapters in one context"
_DECODE_AND_SAMPLING = "Decoding, and drawing tokens from what comes of it"
KINDS = {
    "decode": Kind("speed", "Writing: tokens a second, all sequences together", "tokens/s"),
    "prefill": Kind("speed", "Reading prompts: tokens a second, one prompt a sequence", "tokens/s"),
    "decode_ratio": Kind("speed", "Writing with an adapter, of the bare base's speed", "x", 3),
    "prefill_ratio": Kind("speed", "Reading with an adapter, of the bare base's speed", "x", 3),
    "switch": Kind("speed", _SWITCHING, "ms", 2, "the switch"),
    "switch_restore": Kind("speed", _SWITCHING, "ms", 2, "a role's examples put back"),
    "switch_first_step": Kind("speed", _SWITCHING, "ms", 2, "the first decode after it"),
    "switch_later_step": Kind("speed", _SWITCHING, "ms", 2, "the decode after that"),
    "decode_step": Kind("speed", _DECODE_AND_SAMPLING, "ms", 2, "one llama_decode"),
    "sampling": Kind("speed", _DECODE_AND_SAMPLING, "ms", 2, "drawing its tokens"),
    "sampling_share": Kind("speed", "Drawing tokens, of the time of their decode", "%", 2),
    "load": Kind("memory", "Loading the pack", "s", 2),
    "first_token": Kind("memory", "From a question to its first text, pack loaded", "s", 2),
    "start_to_first_token": Kind("memory", "From the start of a process to its first text", "s", 2),
    "peak_resident": Kind("memory", "Most resident memory of a process on its first round", "MB"),
    "problem_seconds": Kind("policies", "Seconds a problem", "s", 2),
    "problem_tokens": Kind("policies", "Generated tokens a problem", "tokens"),
    "right": Kind("policies", "Right answers", "problems"),
    "seconds_per_right": Kind("policies", "Seconds for each right answer", "s", 2),
    "joules_per_right": Kind("policies", "Joules for each right answer", "J"),
}
"""Every figure there is, in the order in which they are shown."""


@dataclass(frozen=True)
class Measurement:
    """One value of one run.

    Attributes:
        name: a key of `KINDS`, which tells the unit.
        value: infinite where something was paid for and nothing came of it.
        labels: the case: `sequences`, `adapter`, `prompts`, `policy`.
    """

    name: str
    value: float
    labels: Labels = ()


@dataclass(frozen=True)
class Progress:
    """How far a part has come, for people."""

    part: Part
    done: int
    total: int
    what: str


def run_name(run: int, runs: int) -> str:
    """What run `run` is, for people; run 0 warms up."""
    return f"run {run} of {runs}" if run else "warming up"


class Figure(BaseModel):
    """A median over runs, with its spread. None stands for infinite.

    Attributes:
        labels: the case that was measured.
        minimum, maximum: the spread: the least and the largest of `values`.
        values: one a run, in their order; warm-up left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    part: Part
    unit: str
    labels: dict[str, str | int]
    median: float | None
    minimum: float | None
    maximum: float | None
    values: tuple[float | None, ...]


def collect(measurements: Iterable[Measurement]) -> list[Figure]:
    """The figures that `measurements` add up to, by name in the order of `KINDS`."""
    values: dict[tuple[str, Labels], list[float]] = {}
    for one in measurements:
        values.setdefault((one.name, one.labels), []).append(one.value)
    order = list(KINDS)
    return [
        _figure(name, labels, values[name, labels])
        for name, labels in sorted(values, key=lambda key: order.index(key[0]))
    ]


def _figure(name: str, labels: Labels, values: list[float]) -> Figure:
    finite = [_finite(value) for value in values]
    return Figure(
        name=name,
        part=KINDS[name].part,
        unit=KINDS[name].unit,
        labels=dict(labels),
        median=_finite(statistics.median(values)),
        minimum=_finite(min(values)),
        maximum=_finite(max(values)),
        values=tuple(finite),
    )


def _finite(value: float) -> float | None:
    """The value to six digits: more than any of these measurements has."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


@dataclass(frozen=True)
class Row:
    """A figure as it is shown: the case, the text, and how long its bars are (0 to 1)."""

    case: str
    text: str
    length: float
    least: float
    most: float


@dataclass(frozen=True)
class Group:
    """Figures of one title, which share a scale."""

    part: Part
    title: str
    rows: tuple[Row, ...]


def group(figures: Iterable[Figure]) -> list[Group]:
    """The figures as groups of rows, in the order of `KINDS`."""
    by_title: dict[str, list[Figure]] = {}
    for figure in figures:
        by_title.setdefault(KINDS[figure.name].title, []).append(figure)
    groups = {kind.title: kind.part for kind in KINDS.values() if kind.title in by_title}
    return [Group(part, title, _rows(by_title[title])) for title, part in groups.items()]


def _rows(figures: list[Figure]) -> tuple[Row, ...]:
    values = [value for figure in figures for value in figure.values if value is not None]
    largest = max(values, default=0.0) or 1.0

    def length(value: float | None) -> float:
        return 1.0 if value is None else max(0.0, value / largest)

    return tuple(
        Row(
            _case(figure),
            _text(figure),
            0.0 if figure.median is None else length(figure.median),
            length(figure.minimum),
            length(figure.maximum),
        )
        for figure in figures
    )


def _case(figure: Figure) -> str:
    words = [KINDS[figure.name].case]
    for name, value in figure.labels.items():
        if name == "sequences":
            words.append(f"{value} sequence{'' if value == 1 else 's'}")
        elif name == "adapter":
            words.append("bare base" if value == BARE_BASE else "with adapter")
        elif name == "prompts":
            words.append(f"{value} prompts")
        else:
            words.append(str(value))
    return ", ".join(word for word in words if word)


def _text(figure: Figure) -> str:
    """Such as "77.1 (75.0 to 78.2) tokens/s"."""
    digits = KINDS[figure.name].digits
    if figure.minimum is None:
        return NOTHING_RIGHT

    def number(value: float | None) -> str:
        return NOTHING_RIGHT if value is None else f"{value:,.{digits}f}"

    middle, low, high = map(number, (figure.median, figure.minimum, figure.maximum))
    return f"{middle} ({low} to {high}) {figure.unit}"
