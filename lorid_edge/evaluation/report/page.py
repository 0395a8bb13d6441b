"""One self-contained HTML page about runs: no script, and nothing fetched from anywhere.

Questions, answers and chains are strangers' and models' texts: the template escapes all of them,
and the page's own policy forbids every script and every request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lorid_edge import __version__
from lorid_edge.evaluation.failures import Failure
from lorid_edge.evaluation.report import figures, table
from lorid_edge.evaluation.report.measured import MeasuredRun
from lorid_edge.evaluation.report.wrong_agreements import wrong_agreements
from lorid_edge.evaluation.run_description import RunDescription
from lorid_edge.evaluation.sampling_metrics import REASONERS
from lorid_edge.roles import Role


@dataclass(frozen=True)
class ShownFigure:
    """A figure with its words and its numbers.

    Attributes:
        rows: a heading and the rows of the table that says the same.
    """

    title: str
    caption: str
    svg: str
    rows: list[list[str]]


def html_page(runs: Sequence[MeasuredRun]) -> str:
    """The page. Raises LoridError if matplotlib is not installed."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    figures.require_matplotlib()
    environment = Environment(
        loader=PackageLoader("lorid_edge.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup  # the figures alone are no one's text
    return environment.get_template("page.html.jinja").render(
        runs=runs,
        version=__version__,
        table=table.rows(runs),
        note=table.note(runs),
        figures=_figures(runs),
        failures=_failure_rows(runs),
        conditions=[(measured.name, _conditions(measured.run.description)) for measured in runs],
        examples=[(measured, wrong_agreements(measured.run)) for measured in runs],
    )


def _figures(runs: Sequence[MeasuredRun]) -> list[ShownFigure]:
    return [
        ShownFigure(
            "Accuracy against tokens",
            "Each point is a run; the bar is its 95 % interval. Higher and further left is better.",
            figures.accuracy_against_tokens(runs),
            _token_rows(runs),
        ),
        ShownFigure(
            "Calibration",
            "How many problems are right at each confidence. On the dashed line the confidence is "
            "the chance of being right; below it the solver is too sure.",
            figures.reliability(runs),
            _reliability_rows(runs),
        ),
        ShownFigure(
            "Rounds",
            "How many rounds of asking the problems took.",
            figures.rounds(runs),
            _round_rows(runs),
        ),
        *(shown for role in REASONERS if (shown := _at_k_figure(runs, role)) is not None),
    ]


def _at_k_figure(runs: Sequence[MeasuredRun], role: Role) -> ShownFigure | None:
    svg = figures.at_each_k(runs, role)
    if svg is None:
        return None
    rows = [["run", "k", "pass@k", "majority@k"]]
    for measured in runs:
        rows += [
            [
                measured.name,
                str(item.k),
                f"{100 * item.pass_share:.1f} %",
                f"{100 * item.majority_share:.1f} %",
            ]
            for item in measured.summary.at_k[role]
        ]
    return ShownFigure(
        f"More samples of the {role.value.replace('_', ' ')}",
        "Dashed: at least one of k samples is right. Solid: the commonest answer of k is right. "
        "Only the first samples that every problem finished are counted.",
        svg,
        rows,
    )


def _token_rows(runs: Sequence[MeasuredRun]) -> list[list[str]]:
    return [
        ["run", "generated tokens a problem", "accuracy"],
        *(
            [
                measured.name,
                f"{measured.summary.tokens.generated:.0f}",
                str(measured.summary.accuracy),
            ]
            for measured in runs
        ),
    ]


def _reliability_rows(runs: Sequence[MeasuredRun]) -> list[list[str]]:
    return [
        ["run", "confidence", "mean", "right"],
        *(
            [
                measured.name,
                f"{item.low:.1f} to {item.high:.1f}",
                f"{item.confidence:.3f}",
                str(item.accuracy),
            ]
            for measured in runs
            for item in measured.summary.calibration.bins
        ),
    ]


def _round_rows(runs: Sequence[MeasuredRun]) -> list[list[str]]:
    return [
        ["run", "rounds", "problems"],
        *(
            [measured.name, str(rounds), str(problems)]
            for measured in runs
            for rounds, problems in measured.summary.rounds.items()
        ),
    ]


def _failure_rows(runs: Sequence[MeasuredRun]) -> list[list[str]]:
    return [
        ["failure", *(measured.name for measured in runs)],
        *(
            [kind.value, *(str(measured.summary.failures[kind]) for measured in runs)]
            for kind in Failure
        ),
    ]


def _conditions(description: RunDescription) -> list[tuple[str, str]]:
    """What a reader needs to repeat the run."""
    identity, made = description.identity, description.circumstances
    adapters = ", ".join(f"{role.value} {sha[:12]}" for role, sha in identity.pack.adapters.items())
    limit = "all problems" if identity.data.limit is None else f"{identity.data.limit} problems"
    pairs: list[tuple[str, Any]] = [
        ("pack", f"{identity.pack.name} {identity.pack.version}"),
        ("base, SHA-256", identity.pack.base_sha256),
        ("adapters, SHA-256", adapters or "none"),
        ("data", f"{identity.data.name}, {identity.data.split}, {limit}"),
        ("data, SHA-256", identity.data.sha256),
        ("sample seed", identity.data.sample_seed),
        ("policy", identity.policy),
        ("samples of a role at once", identity.width),
        ("rounds at most", identity.max_rounds),
        ("seconds at most", identity.max_seconds or "no limit"),
        ("calculator", "on" if identity.calculator else "off"),
        ("seed", identity.seed),
        ("problems at the same time", made.in_flight),
        ("threads", made.threads),
        ("weights", made.weights),
        ("engine", made.engine),
        ("machine", made.machine),
        ("versions", ", ".join(f"{k} {v}" for k, v in made.versions.to_dict().items())),
        ("begun", f"{made.when:%Y-%m-%d %H:%M %Z}"),
        ("sessions", len(description.sessions)),
        ("command", made.command),
    ]
    return [(name, str(value)) for name, value in pairs]
