"""`lorid-edge distill`: training data that a teacher or the model itself makes."""

from __future__ import annotations

from typing import Annotated

import typer

from lorid_edge.errors import UsageError

from .distilling import (
    AsJson,
    DataSource,
    Limit,
    MaxBroken,
    Output,
    Prices,
    Seed,
    load_records,
    run_knowledge,
    run_own_knowledge,
    run_rationales,
)
from .options import PackName, Threads, Yes

app = typer.Typer(
    help="Make training data: a teacher's knowledge, or the model's own correct chains.\n\n"
    "Example: lorid-edge distill knowledge problems.jsonl --teacher tiny -o rules.jsonl",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def prepare() -> None:
    """Make training data: a teacher's knowledge, or the model's own correct chains."""


@app.command()
def knowledge(
    dataset: DataSource,
    output: Output,
    teacher: Annotated[
        str,
        typer.Option(
            help="A pack, a GGUF file, a Hugging Face folder, or the address of an endpoint."
        ),
    ] = "standard",
    model: Annotated[str | None, typer.Option(help="An endpoint's name for its model.")] = None,
    key_variable: Annotated[
        str | None, typer.Option(help="The environment variable that holds an endpoint's key.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(help="Problems with the teacher at once; what suits its kind if not given."),
    ] = None,
    in_torch: Annotated[
        bool,
        typer.Option(
            "--torch",
            help="Run a pack or GGUF file in torch (extra `train`), for GPUs and for CPUs that "
            "multiply bfloat16 matrices (AMX).",
        ),
    ] = False,
    attempts: Annotated[
        int, typer.Option(help="Replies asked for before a problem is set aside.")
    ] = 4,
    tries: Annotated[
        int, typer.Option(help="Tries of one request to an endpoint before it is given up.")
    ] = 6,
    timeout: Annotated[float, typer.Option(help="Seconds for each try.")] = 120.0,
    input_price: Annotated[
        float, typer.Option(help="Dollars for a million tokens read, to show the cost.")
    ] = 0.0,
    output_price: Annotated[
        float, typer.Option(help="Dollars for a million tokens written.")
    ] = 0.0,
    threads: Threads = None,
    limit: Limit = None,
    seed: Seed = 0,
    max_broken: MaxBroken = 0.01,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Have a teacher write down the general rules behind each problem's solution.

    Replies are checked, and asked for again where they hold a problem's own numbers or names, or
    give its answer away. A run that was stopped goes on when the same command is given again;
    problems without usable rules are noted in a file beside the output.

    Example: lorid-edge distill knowledge problems.jsonl --teacher tiny -o rules.jsonl
    """
    from lorid_edge.distill.knowledge_run import KnowledgeJob
    from lorid_edge.distill.teachers import TeacherSettings

    _require_at_least_1(("--attempts", attempts), ("--threads", threads))
    if not (input_price >= 0 and output_price >= 0):
        raise UsageError("A price is a number of dollars, at least 0.")
    settings = TeacherSettings(
        concurrency=concurrency,
        model=model,
        key_variable=key_variable,
        tries=tries,
        timeout_seconds=timeout,
        threads=threads,
        in_torch=in_torch,
    )
    job = KnowledgeJob(load_records(dataset, limit, max_broken), output, seed, attempts)
    run_knowledge(job, teacher, settings, Prices(input_price, output_price), yes, as_json)


@app.command()
def own_knowledge(
    dataset: DataSource,
    output: Output,
    pack: PackName = "standard",
    in_flight: Annotated[int, typer.Option(help="Problems asked at once.")] = 32,
    threads: Threads = None,
    limit: Limit = None,
    seed: Seed = 0,
    max_broken: MaxBroken = 0.01,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Have a pack's own knowledge generator write the rules, for its deep reasoner to learn from.

    It sees the problems alone, as it does when they are solved. A run that was stopped goes on when
    the same command is given again; replies that are no list of rules are noted in a file beside
    the output.

    Example: lorid-edge distill own-knowledge problems.jsonl --pack tiny -o own.jsonl
    """
    from lorid_edge.distill.own_knowledge import OwnKnowledgeJob
    from lorid_edge.packs.store import PackStore

    _require_at_least_1(("--in-flight", in_flight), ("--threads", threads))
    found = PackStore().find(pack)
    records = load_records(dataset, limit, max_broken)
    job = OwnKnowledgeJob(records, found, output, in_flight, seed, threads)
    run_own_knowledge(job, yes, as_json)


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

    _require_at_least_1(("--keep", keep), ("--max-tokens", max_tokens), ("--threads", threads))
    if temperature is not None and not 0 <= temperature <= 5:
        raise UsageError(f"--temperature is {temperature}; it has to be from 0 to 5.")
    found = PackStore().find(pack)
    own = found.manifest.sampling
    desk = DeskSettings(
        samples=samples,
        in_flight=in_flight,
        sampling=SamplingSettings(
            own.temperature if temperature is None else temperature, own.top_k, own.top_p
        ),
        max_tokens=max_tokens,
        threads=threads,
        calculator=not no_calculator,
    )
    records = load_records(dataset, limit, max_broken)
    run_rationales(RationaleJob(records, found, output, desk, seed, keep), yes, as_json)


def _require_at_least_1(*options: tuple[str, int | None]) -> None:
    for name, value in options:
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; it has to be at least 1.")
