"""`lorid-edge train`: the adapters of the three roles, from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorid_edge.errors import UsageError
from lorid_edge.roles import Role

from . import streams

if TYPE_CHECKING:
    from lorid_edge.train.plan import Plan

ROLES = {
    "ir": (Role.INTUITIVE_REASONER,),
    "kg": (Role.KNOWLEDGE_GENERATOR,),
    "dr": (Role.DEEP_REASONER,),
    "all": tuple(Role),
}
BROKEN_LINES_SHOWN = 5


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's TOML file, or its name; without one, all are listed."),
    ] = None,
    role: Annotated[
        str, typer.Option(help="ir (intuitive reasoner), kg (knowledge), dr (deep) or all.")
    ] = "all",
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; below LORID_EDGE_HOME if not given.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A key of the recipe, as in --set training.epochs=1."),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(help="Stop each role after so many steps; for trying things.", min=1),
    ] = None,
    show_example: Annotated[
        bool, typer.Option("--show-example", help="Show an example of each role, and end.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check all, take two steps a role, tell what it would cost; no more."
        ),
    ] = False,
    install: Annotated[
        bool | None,
        typer.Option(
            "--install/--no-install", help="Put the adapters into the pack; else by the recipe."
        ),
    ] = None,
    evaluate: Annotated[
        bool | None,
        typer.Option(
            "--evaluate/--no-evaluate",
            help="Try the result on the development split; else when all roles are trained.",
        ),
    ] = None,
    json_wanted: Annotated[
        bool, typer.Option("--json", help="Print the summary, examples or recipes as JSON.")
    ] = False,
) -> None:
    """Train the adapters of a recipe. Started again, it goes on where it was stopped.

    Example: lorid-edge train tiny/cpu --role ir --show-example
    """
    from lorid_edge.train.plan import make_plan
    from lorid_edge.train.shipped import find_recipe

    if recipe is None:
        return _list_recipes(json_wanted)
    overrides = _overrides(settings or [], max_steps)
    plan = make_plan(find_recipe(recipe), _roles(role), overrides=overrides)
    _tell_plan(plan)
    if show_example:
        from .showing import examples_json, show_examples

        return examples_json(plan) if json_wanted else show_examples(plan)
    from . import training

    command = training.TrainCommand(
        plan=plan,
        run=run or _default_run(plan, max_steps),
        install=plan.recipe.output.install if install is None else install,
        evaluate=evaluate,
    )
    if dry_run:
        return _finish(training.rehearse(command), json_wanted)
    return _finish(training.train(command), json_wanted)


def _list_recipes(json_wanted: bool) -> None:
    from lorid_edge.train.shipped import known_recipes

    from .converting import as_json

    names = list(known_recipes())
    return as_json(recipes=names) if json_wanted else streams.result("\n".join(names))


def _overrides(settings: list[str], max_steps: int | None) -> list[str]:
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not (key.strip() and equals):
            raise UsageError(
                f"--set is {setting!r}; it has to be key=value, as in training.epochs=1."
            )
    own = [] if max_steps is None else [f"training.max_steps={max_steps}"]
    return [*settings, *own]


def _roles(name: str) -> tuple[Role, ...]:
    by_name = {**ROLES, **{role.value: (role,) for role in Role}}
    if name not in by_name:
        raise UsageError(f"--role is {name!r}; it has to be one of {', '.join(ROLES)}.")
    return by_name[name]


def _default_run(plan: Plan, max_steps: int | None) -> Path:
    from lorid_edge.packs.places import Places

    name = plan.recipe.name if max_steps is None else f"{plan.recipe.name}-{max_steps}-steps"
    return Places.default().state / "training" / name


def _tell_plan(plan: Plan) -> None:
    from lorid_edge.train.training import is_main_process

    if not is_main_process():
        return
    for dataset in plan.datasets.values():
        for broken in dataset.broken[:BROKEN_LINES_SHOWN]:
            streams.note(f"{dataset.name}, line {broken.line}: {broken.reason}; passed over.")
        if len(dataset.broken) > BROKEN_LINES_SHOWN:
            streams.note(f"{dataset.name}: {len(dataset.broken)} broken lines in all.")
    for role, planned in plan.roles.items():
        left_out = f", {planned.too_long} too long" if planned.too_long else ""
        streams.note(
            f"{role.value}: {len(planned.examples):,} examples{left_out}, {planned.tokens:,} "
            f"tokens, of them {planned.completion_tokens:,} trained"
        )


def _finish(summary: dict[str, Any], json_wanted: bool) -> None:
    from .converting import as_json
    from .training import describe

    if json_wanted:
        return as_json(**summary)
    return streams.result(describe(summary))
