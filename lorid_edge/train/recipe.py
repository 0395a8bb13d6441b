"""Recipes: TOML files that say what adapters are trained from what, and how.

    recipe, problems = read_recipe(Path("cpu.toml"), ["training.epochs=1"])

Reading one touches that file alone; whether its data and its base are there is the business of
`plan`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lorid_edge.errors import LoridError
from lorid_edge.loop.policies import POLICIES
from lorid_edge.packs.manifest import KNOWLEDGE, QUESTION, Line, Sha256, Text
from lorid_edge.roles import Role
from lorid_edge.train.settings import LoraSettings, TrainingSettings
from lorid_edge.train.targets import Annotations

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_RECIPE_BYTES = 2**20


class RecipeError(LoridError):
    """A recipe cannot be followed; the message names all that is wrong with it."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


_Names = Annotated[tuple[Line, ...], Field(strict=False)]


class BaseSettings(_Settings):
    """A base that no pack describes.

    Attributes:
        model: a GGUF file, a Hugging Face folder, or a repository on the hub.
        sha256: of the GGUF file; None to take it as it is.
        revision: of the repository on the hub; None for its newest.
    """

    model: Line
    sha256: Sha256 | None = None
    revision: Line | None = None


def _with_question(prompt: str) -> str:
    if QUESTION not in prompt or KNOWLEDGE in prompt:
        raise ValueError(f"expected a prompt with {QUESTION} and without {KNOWLEDGE}")
    return prompt


def _with_knowledge(prompt: str) -> str:
    if QUESTION not in prompt or KNOWLEDGE not in prompt:
        raise ValueError(f"expected a prompt with {QUESTION} and {KNOWLEDGE}")
    return prompt


class PromptSettings(_Settings):
    """How the roles of such a base are asked, and how they mark the final answer."""

    system: str = ""
    intuitive_reasoner: Annotated[Text, AfterValidator(_with_question)]
    knowledge_generator: Annotated[Text, AfterValidator(_with_question)]
    deep_reasoner: Annotated[Text, AfterValidator(_with_knowledge)]
    answer: Literal["boxed", "hash", "line"] = "boxed"


class DataSettings(_Settings):
    """What is learnt: names of data sets, or paths that count from the recipe's folder.

    Attributes:
        reasoning: data sets with rationales, for both reasoners.
        knowledge: data sets with knowledge, for the knowledge generator and the deep reasoner.
        annotations: what becomes of `<<48/2=24>>`: strip, keep or where_needed.
        limit: at most so many examples of a role, the first ones; None for all.
        max_broken_fraction: more broken lines than this in a data set, and nothing is trained.
    """

    reasoning: _Names = ()
    knowledge: _Names = ()
    annotations: Annotated[Annotations, Field(strict=False)] = Annotations.STRIP
    limit: Annotated[int, Field(ge=1)] | None = None
    max_broken_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01


class RoleRecipe(_Settings):
    """What is different for one role; only the keys that are given count."""

    data: DataSettings = DataSettings()
    lora: LoraSettings = LoraSettings()
    training: TrainingSettings = TrainingSettings()
    start_from: Literal["intuitive_reasoner"] | None = None


class RolesRecipe(_Settings):
    """The differences of all roles."""

    intuitive_reasoner: RoleRecipe = RoleRecipe()
    knowledge_generator: RoleRecipe = RoleRecipe()
    deep_reasoner: RoleRecipe = RoleRecipe()


class OutputSettings(_Settings):
    """The adapter's file: its type, and whether it goes into the pack without being asked."""

    type: Literal["f32", "f16", "q8_0"] = "q8_0"
    install: bool = False
    licence: Line | None = None


def _policy(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"there is no policy {name!r}; policies: {', '.join(POLICIES)}")
    return name


class EvaluationSettings(_Settings):
    """How the trained pack is tried on the development split.

    Attributes:
        dataset: one that has a development split.
        problems: its first ones; 0 for no evaluation.
        policies: each is measured on its own.
        greedy: the likeliest token instead of the pack's sampling.
        bare: measure the pack's base without any adapter as well, asked as `pack.toml` has it now.
    """

    dataset: Line = "gsm8k"
    problems: Annotated[int, Field(ge=0)] = 100
    policies: Annotated[
        tuple[Annotated[str, AfterValidator(_policy)], ...], Field(strict=False, min_length=1)
    ] = ("ir", "dr")
    greedy: bool = True
    bare: bool = False


class Recipe(_Settings):
    """A whole recipe.

    Attributes:
        pack: a pack's name or folder; its base, prompts and answer format are used.
        base, prompts: in place of a pack.
        pack_examples: keep the examples that a pack's prompts show. A trained role does not need
            them, and they make every prompt longer.
        roles: keys of [data], [lora] and [training] that differ for a role.
    """

    name: Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")]
    description: Line
    pack: Line | None = None
    base: BaseSettings | None = None
    prompts: PromptSettings | None = None
    pack_examples: bool = False
    data: DataSettings
    lora: LoraSettings = LoraSettings()
    training: TrainingSettings = TrainingSettings()
    roles: RolesRecipe = RolesRecipe()
    output: OutputSettings = OutputSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _check_base(self) -> Recipe:
        if (self.pack is None) == (self.base is None):
            raise ValueError("expected either pack or [base]")
        if self.base is not None and self.prompts is None:
            raise ValueError("[base] needs [prompts]: a prompt for each role")
        if self.pack is not None and self.prompts is not None:
            raise ValueError("[prompts] goes with [base]; a pack brings its own")
        return self

    def for_role(self, role: Role) -> RoleRecipe:
        """All settings of one role: those of the recipe with the role's own put over them."""
        own: RoleRecipe = getattr(self.roles, role.value)
        return RoleRecipe(
            data=_put_over(self.data, own.data),
            lora=_put_over(self.lora, own.lora),
            training=_put_over(self.training, own.training),
            start_from=own.start_from,
        )


def _put_over(common: Any, own: Any) -> Any:
    return common.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def read_recipe(path: Path, overrides: Iterable[str] = ()) -> tuple[Recipe | None, list[str]]:
    """Read a recipe.

    Args:
        overrides: "key=value" with the value as in TOML (a bare word is taken as a text), such as
            "training.max_steps=4".

    Returns:
        the recipe and what is wrong with its keys and values. With problems, the recipe is what
        is left without the wrong keys, so that the rest can be checked too; None if nothing is.

    Raises:
        RecipeError: the file cannot be read, or is not TOML.
    """
    document = _document(path)
    for override in overrides:
        _merge(document, _parsed_override(override))
    problems: list[str] = []
    while True:
        try:
            return Recipe.model_validate(document), problems
        except ValidationError as error:
            details = error.errors(include_url=False)
        new = [f"{_key(item['loc'])}: {_message(item)}" for item in details]
        problems += [problem for problem in new if problem not in problems]
        removed = [_remove(document, item["loc"]) for item in details]
        if not any(removed):
            return None, problems


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path}: cannot read the recipe: {error.strerror or error}") from error
    if len(content) > MAX_RECIPE_BYTES:
        raise RecipeError(f"{path}: the recipe is longer than {MAX_RECIPE_BYTES} bytes")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from error


def _parsed_override(override: str) -> dict[str, Any]:
    key, equals, value = override.partition("=")
    for text in (value, json.dumps(value)) if equals else ():
        try:
            return tomllib.loads(f"{key} = {text}")
        except tomllib.TOMLDecodeError:
            continue
    raise RecipeError(f"{override!r} sets nothing; expected key=value, as training.epochs=1")


def _merge(document: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(document.get(key), dict):
            _merge(document[key], value)
        else:
            document[key] = value


def _remove(document: dict[Any, Any], location: tuple[int | str, ...]) -> bool:
    """Take out the key at a location, or the nearest that is there; False if there is none."""
    place = document
    for key in location:
        if key not in place:
            return False
        if not isinstance(place[key], dict) or key == location[-1]:
            del place[key]
            return True
        place = place[key]
    return False


def _key(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location)
    return path.removeprefix(".") or "the whole"


def _message(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key"
    message = str(item["msg"]).removeprefix("Value error, ")
    return (
        message[:1].lower()
        + message[1:]
        + (f", not {item['input']!r}" if isinstance(item["input"], int | float | str) else "")
    )
