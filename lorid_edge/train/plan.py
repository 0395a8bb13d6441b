"""From a recipe to what is going to be trained: everything is looked at before anything is loaded.

plan = make_plan(Path("cpu.toml"), [Role.INTUITIVE_REASONER])
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lorid_edge.convert.architectures import LINEAR_MODULES
from lorid_edge.data.datasets import Dataset, Split, load_dataset
from lorid_edge.data.held_out import question_hash
from lorid_edge.data.record import Record
from lorid_edge.errors import LoridError
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role
from lorid_edge.train.base import TrainingBase, find_base
from lorid_edge.train.examples import Curriculum, ExampleMaker, Lesson
from lorid_edge.train.job import TokenExample
from lorid_edge.train.recipe import DataSettings, Recipe, RecipeError, RoleRecipe, read_recipe
from lorid_edge.train.requirements import has_gpu, require_training_packages

KG = Role.KNOWLEDGE_GENERATOR


@dataclass(frozen=True)
class RolePlan:
    """What one role is taught.

    Attributes:
        lessons: in words, those that are too long left out.
        examples: the same as token ids.
        too_long: how many were left out.
    """

    role: Role
    settings: RoleRecipe
    lessons: tuple[Lesson, ...]
    examples: tuple[TokenExample, ...]
    too_long: int

    @cached_property
    def tokens(self) -> int:
        """All tokens of one epoch."""
        return sum(len(example.prompt) + len(example.completion) for example in self.examples)

    @cached_property
    def completion_tokens(self) -> int:
        """The tokens of one epoch that are trained on."""
        return sum(len(example.completion) for example in self.examples)


@dataclass(frozen=True)
class Plan:
    """A recipe that can be followed: its base is here, its data is read, its examples are made.

    `datasets` go by what the recipe calls them: files of several folders may share a name.
    """

    recipe: Recipe
    path: Path
    base: TrainingBase
    datasets: dict[str, Dataset]
    roles: dict[Role, RolePlan]

    def data_of(self, role: Role) -> dict[str, Dataset]:
        """The data sets that a role is taught from, by what the recipe calls them."""
        return {name: self.datasets[name] for name in _names_of(self.recipe, role)}


def make_plan(
    path: Path,
    roles: Sequence[Role],
    *,
    overrides: Iterable[str] = (),
    store: PackStore | None = None,
) -> Plan:
    """Read a recipe, its data and its base's tokenizer, and make the examples of `roles`.

    Raises:
        RecipeError: the message names everything that stands in the way.
    """
    recipe, problems = read_recipe(path, overrides)
    store = store or PackStore()
    datasets: dict[str, Dataset] = {}
    base = None
    if recipe is not None:
        problems += _machine_problems(recipe, roles)
        problems += _role_problems(recipe, roles)
        for name in dict.fromkeys(n for role in roles for n in _names_of(recipe, role)):
            try:
                datasets[name] = load_dataset(
                    _beside(path, name),
                    Split.TRAIN,
                    max_broken_fraction=recipe.data.max_broken_fraction,
                    broken_setting="data.max_broken_fraction",
                )
            except LoridError as problem:
                problems.append(str(problem))
        try:
            base = find_base(recipe, path.absolute().parent, store)
        except LoridError as problem:
            problems.append(str(problem))
        else:
            problems += _target_problems(recipe, roles, base)
    if recipe is None or base is None or problems:
        raise _refusal(path, problems)
    maker = ExampleMaker(base.vocabulary(), base.asking)
    planned = {role: _plan_role(role, recipe, base, datasets, maker) for role in roles}
    empty = [
        f"{role.value}: no example is left of {', '.join(_names_of(recipe, role))} "
        f"({plan.too_long} are longer than max_tokens = {plan.settings.training.max_tokens})"
        for role, plan in planned.items()
        if not plan.examples
    ]
    if empty:
        raise _refusal(path, empty)
    return Plan(recipe, path, base, datasets, planned)


def development_records(plan: Plan) -> tuple[Record, ...]:
    """The problems that the recipe evaluates with; none of them may have been trained on.

    Raises:
        RecipeError: they cannot be loaded, or are among what is trained on.
    """
    settings = plan.recipe.evaluation
    try:
        records = load_dataset(_beside(plan.path, settings.dataset), Split.DEVELOPMENT).records
    except LoridError as problem:
        raise _refusal(plan.path, [f"evaluation.dataset: {problem}"]) from problem
    trained = {
        question_hash(lesson.question) for role in plan.roles.values() for lesson in role.lessons
    }
    trained |= {question_hash(record.question) for record in _records_of_other_roles(plan)}
    shared = sum(question_hash(record.question) in trained for record in records)
    if shared:
        found = f"evaluation.dataset: {shared} of its questions are in the training data"
        raise _refusal(plan.path, [found])
    return records[: settings.problems]


def _records_of_other_roles(plan: Plan) -> Iterator[Record]:
    """What the roles of the recipe may have learnt from that this plan is not about."""
    for role in set(Role) - set(plan.roles):
        for name in _names_of(plan.recipe, role):
            with suppress(LoridError):  # what cannot be read has taught nobody
                yield from load_dataset(_beside(plan.path, name), Split.TRAIN).records


def _refusal(path: Path, problems: Sequence[str]) -> RecipeError:
    lines = "".join(f"\n  {problem}" for problem in problems)
    return RecipeError(f"{path}: the recipe cannot be followed:{lines}")


def _machine_problems(recipe: Recipe, roles: Sequence[Role]) -> list[str]:
    try:
        require_training_packages()
    except LoridError as problem:
        return [str(problem)]
    wants_gpu = any(recipe.for_role(role).training.device == "cuda" for role in roles)
    if wants_gpu and not has_gpu():
        return [
            'training.device: the recipe demands a GPU ("cuda") and torch finds none here; use a '
            "recipe for the CPU, or --set training.device=auto"
        ]
    return []


def _role_problems(recipe: Recipe, roles: Sequence[Role]) -> list[str]:
    problems = []
    for role in roles:
        settings = recipe.for_role(role)
        wanted = "knowledge" if role is not Role.INTUITIVE_REASONER else "reasoning"
        if not getattr(settings.data, wanted):
            problems.append(f"data.{wanted}: empty, and the {role.value} is taught from it")
        if "max_broken_fraction" in getattr(recipe.roles, role.value).data.model_fields_set:
            problems.append(
                f"roles.{role.value}.data.max_broken_fraction: roles share what is read; "
                "set data.max_broken_fraction"
            )
        if settings.start_from is None:
            continue
        first = Role(settings.start_from)
        if first is role:
            problems.append(f"roles.{role.value}.start_from: a role cannot start from itself")
        elif recipe.for_role(first).lora != settings.lora:
            problems.append(
                f"roles.{role.value}.start_from: [lora] has to be that of {first.value}"
            )
    return problems


def _target_problems(recipe: Recipe, roles: Sequence[Role], base: TrainingBase) -> list[str]:
    """Names of modules that no GGUF base has; those of a folder are known when it is loaded."""
    if base.path.is_dir():
        return []
    known = [name.rpartition(".")[2] for name in LINEAR_MODULES]
    targets = [recipe.for_role(role).lora.targets for role in roles]
    named = dict.fromkeys(name for names in targets if names != "all-linear" for name in names)
    unknown = [name for name in named if name.rpartition(".")[2] not in known]
    if not unknown:
        return []
    return [f"lora.targets: the base has no {', '.join(unknown)}; it has {', '.join(known)}"]


def _names(data: DataSettings, role: Role) -> tuple[str, ...]:
    if role is Role.INTUITIVE_REASONER:
        return data.reasoning
    if role is KG:
        return data.knowledge
    return tuple(dict.fromkeys((*data.reasoning, *data.knowledge)))


def _names_of(recipe: Recipe, role: Role) -> tuple[str, ...]:
    return _names(recipe.for_role(role).data, role)


def _beside(recipe: Path, name: str) -> str | Path:
    """A path that counts from the recipe's folder, else the name as it is."""
    path = recipe.absolute().parent / name
    return path if path.exists() else name


def _plan_role(
    role: Role,
    recipe: Recipe,
    base: TrainingBase,
    datasets: dict[str, Dataset],
    maker: ExampleMaker,
) -> RolePlan:
    settings = recipe.for_role(role)

    def records(names: Iterable[str]) -> list[Record]:
        return [record for name in names for record in datasets[name].records]

    curriculum = Curriculum(settings.data.annotations, base.answer_format)
    reasoning = () if role is KG else settings.data.reasoning
    knowledge = () if role is Role.INTUITIVE_REASONER else settings.data.knowledge
    lessons = curriculum.lessons(role, records(reasoning), records(knowledge))
    lessons = lessons[: settings.data.limit]
    kept: list[tuple[Lesson, TokenExample]] = []
    for lesson in lessons:
        example = maker.make(role, lesson)
        if len(example.prompt) + len(example.completion) <= settings.training.max_tokens:
            kept.append((lesson, example))
    return RolePlan(
        role=role,
        settings=settings,
        lessons=tuple(lesson for lesson, _ in kept),
        examples=tuple(example for _, example in kept),
        too_long=len(lessons) - len(kept),
    )
