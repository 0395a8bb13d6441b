"""Runs the commands of `lorid-edge distill`: the data set, the work, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from lorid_edge.errors import UsageError

from . import background, streams
from .progress import progress

if TYPE_CHECKING:
    from lorid_edge.data.datasets import Dataset
    from lorid_edge.data.record import Record
    from lorid_edge.distill.knowledge_run import KnowledgeJob, KnowledgeReport
    from lorid_edge.distill.own_knowledge import OwnKnowledgeJob, OwnKnowledgeReport
    from lorid_edge.distill.rationales import RationaleJob, RationaleReport
    from lorid_edge.distill.role_desk import RoleDesk
    from lorid_edge.distill.teacher import Teacher
    from lorid_edge.distill.teachers import TeacherSettings
    from lorid_edge.packs.store import Pack

_MAX_BROKEN_NAMED = 10

DataSource = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="gsm8k, or the path of JSON lines or a folder; only training data is taken.",
    ),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="The file of JSON lines to write, or to go on with."),
]
Limit = Annotated[int | None, typer.Option(help="Only the first so many problems.")]
Seed = Annotated[int, typer.Option(help="Another seed gives other samples.")]
MaxBroken = Annotated[
    float, typer.Option(help="Give up if more than this share of the lines is broken, 0 to 1.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a report as JSON at the end.")]


class _Report(Protocol):
    """How far a run is."""

    @property
    def problems(self) -> int: ...
    @property
    def done(self) -> int: ...
    def to_dict(self) -> dict[str, Any]: ...


SomeReport = TypeVar("SomeReport", bound=_Report)


@dataclass(frozen=True)
class Prices:
    """Dollars for a million tokens that a teacher reads and writes; 0 where nothing is charged."""

    read: float = 0.0
    written: float = 0.0

    def cost_dollars(self, report: KnowledgeReport) -> float:
        """What this run has cost so far."""
        spent = self.read * report.prompt_tokens + self.written * report.generated_tokens
        return spent / 1_000_000


def run_knowledge(
    job: KnowledgeJob,
    reference: str,
    settings: TeacherSettings,
    prices: Prices,
    may_fetch: bool,
    as_json: bool,
) -> None:
    """Have the teacher called `reference` do the job, and print what came of it."""
    from lorid_edge.distill.knowledge_run import knowledge_steps
    from lorid_edge.distill.teachers import is_pack, open_teacher
    from lorid_edge.packs.store import PackStore

    store = PackStore()
    if is_pack(reference) and (reference in store.known() or Path(reference).is_dir()):
        _fetch_if_missing(store.find(reference), may_fetch)
    teacher: Teacher = background.value(lambda: open_teacher(reference, settings, store))

    def remark(report: KnowledgeReport) -> str:
        minutes = report.seconds / 60
        parts = [f"{report.kept} with rules"]
        if report.set_aside:
            parts.append(f"{report.set_aside.total()} set aside")
        if minutes:
            parts.append(f"{report.replies / minutes:.1f} replies/min")
        if prices != Prices():
            parts.append(f"${prices.cost_dollars(report):.2f}")
        return ", ".join(parts)

    with closing(teacher):
        report = _follow(lambda: knowledge_steps(job, teacher, store), teacher.abort, remark)
    content = report.to_dict() | {"teacher": teacher.name, "output": str(job.output)}
    content["cost_dollars"] = round(prices.cost_dollars(report), 4)
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.set_aside.most_common())
    _tell(
        content,
        f"{job.output}: {report.rules} rules for {report.kept} problems"
        + (f"; set aside: {reasons}" if reasons else ""),
        as_json,
    )


def run_own_knowledge(job: OwnKnowledgeJob, may_fetch: bool, as_json: bool) -> None:
    """Do the job, and print what came of it."""
    from lorid_edge.distill.own_knowledge import own_knowledge_steps

    def remark(report: OwnKnowledgeReport) -> str:
        return f"{report.kept} with rules, {_rate(report.tokens, report.seconds)}"

    _fetch_if_missing(job.pack, may_fetch)
    report = _follow_desk(lambda on_open: own_knowledge_steps(job, on_open=on_open), remark)
    _tell(
        report.to_dict() | {"output": str(job.output)},
        f"{job.output}: {report.rules} rules for {report.kept} problems, "
        f"{report.done - report.kept} without",
        as_json,
    )


def run_rationales(job: RationaleJob, may_fetch: bool, as_json: bool) -> None:
    """Do the job, and print what came of it."""
    from lorid_edge.distill.rationales import rationale_steps

    def remark(report: RationaleReport) -> str:
        rate = _rate(report.tokens, report.seconds)
        return f"{report.solved} solved, {report.chains} chains, {rate}"

    _fetch_if_missing(job.pack, may_fetch)
    report = _follow_desk(lambda on_open: rationale_steps(job, on_open=on_open), remark)
    _tell(
        report.to_dict() | {"output": str(job.output)},
        f"{job.output}: {report.chains} chains of {report.solved} problems, "
        f"{report.done - report.solved} without a correct one",
        as_json,
    )


def _rate(tokens: int, seconds: float) -> str:
    return f"{tokens / seconds if seconds else 0.0:.0f} tokens/s"


def _follow_desk(
    produce: Callable[[Callable[[RoleDesk], None]], Iterable[SomeReport]],
    remark: Callable[[SomeReport], str],
) -> SomeReport:
    """`_follow` work that tells the desk it has opened, which Ctrl-C then stops."""
    desks: list[RoleDesk] = []

    def abort() -> None:
        for desk in desks:
            desk.abort()

    return _follow(lambda: produce(desks.append), abort, remark)


def _follow(
    produce: Callable[[], Iterable[SomeReport]],
    abort: Callable[[], None],
    remark: Callable[[SomeReport], str],
) -> SomeReport:
    """Do the work in another thread, so that Ctrl-C is heard, and show how far it is."""
    report = None
    try:
        with closing(background.items(produce, abort)) as reports:
            report = next(found for found in reports if found is not None)
            with progress(report.problems) as show:
                show(report.done, remark(report))
                for found in reports:
                    if found is not None:
                        report = found
                        show(report.done, remark(report))
    except KeyboardInterrupt:
        if report is not None:
            streams.note(
                f"{report.done} of {report.problems} problems done; run the same command again "
                "to go on."
            )
        raise
    return report


def _tell(content: dict[str, Any], summary: str, as_json: bool) -> None:
    if as_json:
        streams.json_result(json.dumps({"schema": 1, **content}, ensure_ascii=False))
    else:
        streams.result(summary)


def _fetch_if_missing(pack: Pack, may_fetch: bool) -> None:
    from lorid_edge.packs.store import PackStore

    from .opening import fetch_with_consent

    if not pack.is_present:
        fetch_with_consent(PackStore(), pack, may_fetch)


def load_records(source: str, limit: int | None, max_broken: float) -> tuple[Record, ...]:
    """The training records of a data set; what is broken in it is reported."""
    from lorid_edge.data.datasets import Split, load_dataset

    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}; it has to be at least 1.")
    if not 0 <= max_broken <= 1:
        raise UsageError(f"--max-broken is {max_broken}; it has to be from 0 to 1.")
    dataset = load_dataset(
        source, Split.TRAIN, max_broken_fraction=max_broken, broken_setting="--max-broken"
    )
    _report_broken(source, dataset)
    return dataset.records[:limit]


def _report_broken(source: str, dataset: Dataset) -> None:
    for line in dataset.broken[:_MAX_BROKEN_NAMED]:
        streams.note(f"{source}, line {line.line}: {line.reason}; passed over.")
    more = len(dataset.broken) - _MAX_BROKEN_NAMED
    if more > 0:
        streams.note(f"{source}: {more} more lines are broken.")
