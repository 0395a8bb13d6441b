"""The folder of a training run: what was trained from what, how, and what came of it.

RUN/recipe.json           the effective recipe
RUN/run.json              versions, machine, base, data
RUN/ROLE/loss.jsonl       a line a step; loss.svg is its picture
RUN/ROLE/adapter/         the adapter (PEFT) with its card
RUN/ROLE/role.json        written last: the role is finished
RUN/pack/                 the pack with the new adapters
RUN/evaluation.json       what it is worth
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import ValidationError

from lorid_edge.errors import LoridError
from lorid_edge.formats.adapter_card import CARD_NAME, MAX_TEXT_CHARACTERS, AdapterCard
from lorid_edge.roles import Role
from lorid_edge.train.loss_curve import CURVE_NAME, draw_curve, read_curve
from lorid_edge.train.plan import Plan, RolePlan
from lorid_edge.train.recipe import RoleRecipe
from lorid_edge.train.requirements import machine, versions
from lorid_edge.train.settings import FREE_TRAINING_SETTINGS
from lorid_edge.whole_files import write_json, write_text

RECIPE_NAME, RUN_NAME, ROLE_NAME = "recipe.json", "run.json", "role.json"
ADAPTER_NAME = "adapter"


class RunError(LoridError):
    """A run's folder cannot be used: it belongs to another run, or the disk does not take it."""


class RunFolder:
    """Make it with `open_run`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def role(self, role: Role) -> Path:
        """The folder of one role."""
        return self.path / role.value

    def adapter(self, role: Role) -> Path:
        """The role's finished adapter."""
        return self.role(role) / ADAPTER_NAME

    @property
    def pack(self) -> Path:
        """The pack with the new adapters."""
        return self.path / "pack"

    def is_finished(self, role: Role) -> bool:
        """Whether the role was trained to its end."""
        return (self.role(role) / ROLE_NAME).is_file() and self.adapter(role).is_dir()

    def finished(self) -> list[Role]:
        """The roles that were trained to their end."""
        return [role for role in Role if self.is_finished(role)]

    def finish(self, plan: Plan, role_plan: RolePlan) -> dict[str, Any]:
        """Write the role's card, picture and summary, and return the summary."""
        role = role_plan.role
        folder = self.role(role)
        card = AdapterCard(
            role=role,
            base_sha256=plan.base.sha256,
            name=f"{plan.recipe.name} {role.value}",
            training_data=training_data_text(plan, role_plan),
            licence=plan.recipe.output.licence,
        )
        write_text(self.adapter(role) / CARD_NAME, card.model_dump_json(exclude_none=True))
        draw_curve(folder, f"{plan.recipe.name}: {role.value}")
        summary = {**_training_summary(folder), "data": data_summary(plan, role_plan)}
        write_json(folder / ROLE_NAME, summary)
        for checkpoint in folder.glob("checkpoint-*"):  # several times the size of the adapter
            shutil.rmtree(checkpoint, ignore_errors=True)
        return summary

    def summary(self, role: Role) -> dict[str, Any]:
        """What `finish` wrote."""
        return read_json(self.role(role) / ROLE_NAME)


@contextmanager
def open_run(path: Path, plan: Plan) -> Iterator[RunFolder]:
    """Open or make the folder of a run and keep other processes away from it meanwhile.

    Raises:
        RunError: it holds a run of another recipe, base or data, or another process is at it.
    """
    from filelock import FileLock, Timeout

    try:
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path / ".lock", timeout=0):
            _require_same_run(path, plan)
            write_json(path / RECIPE_NAME, effective_recipe(plan))
            write_json(path / RUN_NAME, _run_description(path, plan))
            for role_plan in plan.roles.values():
                (path / role_plan.role.value).mkdir(exist_ok=True)
            yield RunFolder(path)
    except Timeout:
        raise RunError(f"{path}: another process is training there; wait for it.") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}.") from error


def effective_recipe(plan: Plan) -> dict[str, Any]:
    """The recipe with the settings of each role written out."""
    recipe = plan.recipe.model_dump(
        mode="json", exclude_none=True, exclude={"data", "lora", "training", "roles"}
    )
    roles = {
        role.value: plan.recipe.for_role(role).model_dump(mode="json", exclude_none=True)
        for role in Role
    }
    return {**recipe, "roles": roles}


def training_data_text(plan: Plan, role_plan: RolePlan) -> str:
    """What a role was taught from, in words, for its card."""
    datasets = plan.data_of(role_plan.role)
    names = [data.name for data in datasets.values()]
    sources = ", ".join(
        f"{data.name if names.count(data.name) == 1 else _with_folder(source, data.name)} "
        f"({data.split.value} split, SHA-256 {data.sha256[:12]})"
        for source, data in datasets.items()
    )
    text = f"{len(role_plan.examples)} examples of {sources}"
    return text[:MAX_TEXT_CHARACTERS]


def _with_folder(source: str, name: str) -> str:
    folder = Path(source).parent.name
    return f"{folder}/{name}" if folder else name


def data_summary(plan: Plan, role_plan: RolePlan) -> dict[str, Any]:
    """What a role is taught from, in numbers."""
    return {
        "examples": len(role_plan.examples),
        "too_long": role_plan.too_long,
        "tokens": role_plan.tokens,
        "completion_tokens": role_plan.completion_tokens,
        "sets": [
            {
                "name": data.name,
                "source": source,
                "split": data.split.value,
                "sha256": data.sha256,
                "records": len(data.records),
                "broken_lines": len(data.broken),
            }
            for source, data in plan.data_of(role_plan.role).items()
        ],
    }


def read_json(path: Path) -> dict[str, Any]:
    """A file of a run; {} where it is missing or damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _training_summary(folder: Path) -> dict[str, Any]:
    rows = read_curve(folder / CURVE_NAME)
    if not rows:
        return {}
    tenth = max(1, len(rows) // 10)
    return {
        "steps": rows[-1]["step"],
        "epochs": rows[-1]["epoch"],
        "first_loss": _mean_loss(rows[:tenth]),
        "last_loss": _mean_loss(rows[-tenth:]),
        "tokens": rows[-1]["tokens"],
        "seconds": rows[-1]["seconds"],
        "tokens_per_second": round(median(row["tokens_per_second"] for row in rows), 1),
        "peak_memory_bytes": max(row["peak_memory_bytes"] for row in rows),
    }


def _mean_loss(rows: list[dict[str, Any]]) -> float:
    mean: float = sum(row["loss"] for row in rows) / len(rows)
    return round(mean, 4)


def _run_description(path: Path, plan: Plan) -> dict[str, Any]:
    known = _known_datasets(read_json(path / RUN_NAME))  # of roles that were trained before
    return {
        "schema": 1,
        "recipe": plan.recipe.name,
        "base": {"source": plan.base.source, "sha256": plan.base.sha256},
        "versions": versions(),
        "machine": machine(),
        "datasets": {**known, **{name: data.sha256 for name, data in plan.datasets.items()}},
    }


def _known_datasets(run: dict[str, Any]) -> dict[str, str]:
    """SHA-256 by what the recipe calls a data set.

    Earlier versions wrote "data" instead, by names that two files could share: of no use here.
    """
    known: dict[str, str] = run.get("datasets", {})
    return known


def _require_same_run(path: Path, plan: Plan) -> None:
    """What was begun is gone on with by the settings it was begun with; all else may differ."""
    old, run = read_json(path / RECIPE_NAME), read_json(path / RUN_NAME)
    begun = [role for role in Role if (path / role.value / CURVE_NAME).exists()]
    if not old or not begun:
        return
    differences = sorted(
        _differences(_identity(old, begun), _identity(effective_recipe(plan), begun))
    )
    if run.get("base", {}).get("sha256") != plan.base.sha256:
        differences.append("the base")
    known = _known_datasets(run)
    for role in begun:
        for name, data in plan.data_of(role).items() if role in plan.roles else ():
            if known.get(name, data.sha256) != data.sha256:
                differences.append(f"the data {name}")
    if differences:
        raise RunError(
            f"{path} holds a run with other settings: {', '.join(dict.fromkeys(differences))}. "
            "Name another folder with --run, or remove that one to begin anew."
        )


def _identity(recipe: dict[str, Any], begun: Iterable[Role]) -> dict[str, Any]:
    """What decides what the adapters of these roles become."""
    kept = {key: recipe.get(key) for key in ("pack", "base", "prompts", "pack_examples")}
    for role in begun:
        settings = _with_defaults(recipe.get("roles", {}).get(role.value, {}))
        training = settings.get("training", {})
        settings["training"] = {
            key: value for key, value in training.items() if key not in FREE_TRAINING_SETTINGS
        }
        kept[f"roles.{role.value}"] = settings
    return kept


def _with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """A role's settings with every key: an earlier version may not have known all of them."""
    try:
        return RoleRecipe.model_validate(settings).model_dump(mode="json")
    except ValidationError:
        return dict(settings)  # of a version with other keys; they will differ


def _differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {*old, *new}:
            yield from _differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
    elif old != new:
        yield key
