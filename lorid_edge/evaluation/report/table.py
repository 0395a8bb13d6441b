"""The figures of runs side by side: rows for the page, and a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from lorid_edge.evaluation.accuracy import Accuracy
from lorid_edge.evaluation.authors_protocol import AuthorsProtocol
from lorid_edge.evaluation.report.measured import MeasuredRun
from lorid_edge.loop.solution import Status

AUTHORS = "authors' protocol"


def rows(runs: Sequence[MeasuredRun]) -> list[list[str]]:
    """The heading and a row for each run; the authors' protocol only where a run has it."""
    table = [
        [
            "run",
            "solved",
            "right",
            "95 % interval",
            AUTHORS,
            "agreed",
            "right where agreed",
            "rounds",
            "generated tokens",
            "seconds decoding",
            "calibration error",
        ],
        *(_row(measured) for measured in runs),
    ]
    if any(measured.summary.authors_protocol for measured in runs):
        return table
    left_out = table[0].index(AUTHORS)
    return [row[:left_out] + row[left_out + 1 :] for row in table]


def markdown(runs: Sequence[MeasuredRun]) -> str:
    """`rows` as a Markdown table, with what its columns mean below."""
    heading, *body = rows(runs)
    lines = [heading, ["---"] + ["---:"] * (len(heading) - 1), *body]
    table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return f"{table}\n\n{note(runs)}\n"


def note(runs: Sequence[MeasuredRun]) -> str:
    """What the columns mean, in a sentence or three."""
    text = (
        "Tokens and seconds are means a problem; seconds are the problem's share of the decodes. "
        "Intervals are Wilson's."
    )
    if any(measured.summary.authors_protocol for measured in runs):
        text += (
            " The authors' protocol counts a problem as right if any answer that both reasoners "
            "share is right, answers compared as plain strings; it is no accuracy of the one "
            "answer given."
        )
    return text


def _row(measured: MeasuredRun) -> list[str]:
    summary = measured.summary
    low, high = summary.accuracy.interval_percent
    is_part = summary.accuracy.problems < summary.problems
    return [
        measured.name,
        f"{summary.accuracy.problems} of {summary.problems}"
        if is_part
        else str(summary.accuracy.problems),
        f"{summary.accuracy.percent:.1f} %",
        f"{low:.1f} to {high:.1f}",
        _authors(summary.authors_protocol),
        _percent(summary.agreement),
        _percent(summary.right_given_agreement) if summary.statuses[Status.AGREED] else "",
        f"{summary.mean_rounds:.2f}",
        f"{summary.tokens.generated:.0f}",
        f"{summary.seconds.decoding:.2f}",
        f"{summary.calibration.expected_error:.3f}",
    ]


def _authors(protocol: AuthorsProtocol | None) -> str:
    if protocol is None:
        return ""
    low, high = protocol.bounds_percent
    return f"{low:.1f} %" if not protocol.open else f"{low:.1f} to {high:.1f} %"


def _percent(accuracy: Accuracy) -> str:
    return f"{accuracy.percent:.1f} %"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
