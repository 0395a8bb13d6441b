"""`lorid-edge distill`: training data that a teacher or the model itself makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from lorid_edge.errors import UsageError

from . import streams
from .distilling import (
    AsJson,
    DataSource,
    Limit,
    MaxBroken,
    Output,
    Seed,
    load_records,
    progress,
)
from .options import PackName, Threads, Yes

if TYPE_CHECKING:
    from lorid_edge.distill.rationales import RationaleJob, RationaleReport
    from lorid_edge.distill.role_desk import RoleDesk

app = typer.Typer(
    help="Make training data: a teacher's knowledge, or the model's own correct chains.\n\n"
    "Example: lorid-edge distill rationales problems.jsonl --pack tiny --samples 2 -o chains.jsonl",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def prepare() -> None:
    """Make training data: a teacher's knowledge, or the model's own correct chains."""


@app.command()
def rationales(
    dataset: DataSource,
    output: Output,
    pack: PackName = "standard",
    samples: Annotated[int, typer.Option(help="Samples of each problem.")] = 4,
    in_flight: Annotated[int, typer.Option(help="Problems whose samples are made together.")] = 4,
    keep: Annotated[
        int | None, typer.Option(help="Most chains to keep of a problem; all if not given.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="How freely to sample; the pack's own if not given.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Longest sample; the pack's own if not given.")
    ] = None,
    no_calculator: Annotated[
        bool, typer.Option("--no-calculator", help="Let the model compute all results itself.")
    ] = False,
    threads: Threads = None,
    limit: Limit = None,
    seed: Seed = 0,
    max_broken: MaxBroken = 0.01,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Sample chains of thought and keep the correct ones that differ in their equations.

    A run that was stopped goes on when the same command is given again. Problems without a correct
    chain are noted in a file beside the output.

    Example: lorid-edge distill rationales problems.jsonl --pack tiny --samples 2 -o chains.jsonl
    """
    from lorid_edge.distill.rationales import RationaleJob
    from lorid_edge.distill.role_desk import DeskSettings
    from lorid_edge.engine.sampling import SamplingSettings
    from lorid_edge.packs.store import PackStore

    from .opening import fetch_with_consent

    for option, value in (("--keep", keep), ("--max-tokens", max_tokens), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{option} is {value}; it has to be at least 1.")
    if temperature is not None and not 0 <= temperature <= 5:
        raise UsageError(f"--temperature is {temperature}; it has to be from 0 to 5.")
    store = PackStore()
    found = store.find(pack)
    own = found.manifest.sampling
    sampling = SamplingSettings(
        own.temperature if temperature is None else temperature, own.top_k, own.top_p
    )
    desk = DeskSettings(
        samples=samples,
        in_flight=in_flight,
        sampling=sampling,
        max_tokens=max_tokens,
        threads=threads,
        calculator=not no_calculator,
    )
    records = load_records(dataset, limit, max_broken)
    if not found.is_present:
        fetch_with_consent(store, found, yes)
    report = _run(RationaleJob(records, found, output, desk, seed, keep))
    summary = (
        f"{output}: {report.chains} chains of {report.solved} problems, "
        f"{report.done - report.solved} without a correct one"
    )
    if as_json:
        streams.json_result(json.dumps({"schema": 1, "output": str(output), **report.to_dict()}))
    else:
        streams.result(summary)


def _run(job: RationaleJob) -> RationaleReport:
    """Do the work in another thread, so that Ctrl-C is heard, and tell how far it is."""
    from lorid_edge.distill.rationales import rationale_steps

    from . import background

    desks: list[RoleDesk] = []

    def produce() -> Iterator[RationaleReport]:
        return rationale_steps(job, on_open=desks.append)

    def cancel() -> None:
        for desk in desks:
            desk.abort()

    report = None
    try:
        with closing(background.items(produce, cancel)) as reports:
            first = next(found for found in reports if found is not None)
            report = first
            with progress(first.problems) as show:
                for found in reports:
                    if found is not None:
                        report = found
                        show(report.done, _remark(report))
    except KeyboardInterrupt:
        if report is not None:
            streams.note(
                f"{report.done} of {report.problems} problems done; run the same command again "
                "to go on."
            )
        raise
    return report


def _remark(report: RationaleReport) -> str:
    rate = report.tokens / report.seconds if report.seconds else 0.0
    return f"{report.solved} solved, {report.chains} chains, {rate:.0f} tokens/s"
