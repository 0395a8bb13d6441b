"""The base that adapters are trained for: its file, its tokenizer, and how its roles are asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lorid_edge.errors import LoridError, ModelFileError
from lorid_edge.formats.base_model import check_base
from lorid_edge.packs.checksums import known_sha256_of
from lorid_edge.packs.manifest import Prompt, Roles, RoleSettings
from lorid_edge.packs.places import Places, is_offline
from lorid_edge.packs.store import Pack, PackStore
from lorid_edge.roles import Role
from lorid_edge.train.examples import ExampleVocabulary
from lorid_edge.train.recipe import BaseSettings, PromptSettings, Recipe

_REPLY_TOKENS = 1024  # of no meaning here: a manifest's roles want a limit


@dataclass(frozen=True)
class RoleQuestions:
    """How the roles are asked: system message and prompts, as a pack's manifest has them."""

    prompt: Prompt
    roles: Roles


@dataclass(frozen=True)
class TrainingBase:
    """A base that was found, checked and may be read.

    Attributes:
        path: a GGUF file or a Hugging Face folder.
        sha256: of the GGUF file; None for a folder.
        source: the name that the user knows it by.
        pack: the pack that it belongs to, if it does.
    """

    path: Path
    sha256: str | None
    source: str
    asking: RoleQuestions
    answer_format: str
    pack: Pack | None = None

    def vocabulary(self) -> ExampleVocabulary:
        """The tokenizer alone. Raises EngineError or ModelFileError if it cannot be loaded."""
        if self.path.is_dir():
            from lorid_edge.train.hub_vocabulary import HubVocabulary

            return HubVocabulary(self.path)
        from lorid_edge.engine.model import Model

        vocabulary: ExampleVocabulary = Model(self.path, vocabulary_only=True)
        return vocabulary


def find_base(recipe: Recipe, folder: Path, store: PackStore) -> TrainingBase:
    """Find the base of a recipe in `folder` and check it.

    Raises:
        PackError, ModelFileError: there is none, or it is not what the recipe says.
        DownloadError: it is on the hub and cannot be fetched.
    """
    if recipe.pack is not None:
        return _base_of_pack(recipe.pack, recipe.pack_examples, folder, store)
    assert recipe.base is not None
    assert recipe.prompts is not None
    prompts = recipe.prompts
    path = _model_path(recipe.base, folder)
    sha256 = None
    if path.is_file():
        sha256 = _checked_sha256(path, recipe.base.sha256, store.places)
    elif recipe.base.sha256 is not None:
        raise ModelFileError(f"{path}: [base] sha256 is for a GGUF file, and this is a folder")
    return TrainingBase(path, sha256, recipe.base.model, _questions(prompts), prompts.answer)


def _base_of_pack(name: str, with_examples: bool, folder: Path, store: PackStore) -> TrainingBase:
    pack = store.find(name if name in store.known() else (folder / name).resolve())
    manifest = pack.manifest
    if not pack.base_path.is_file():
        raise ModelFileError(
            f"the base of the pack {pack.name} is not here; "
            f"run: lorid-edge packs pull {pack.reference}"
        )
    sha256 = _checked_sha256(pack.base_path, manifest.base.sha256, store.places)
    roles = manifest.roles if with_examples else without_examples(manifest.roles, list(Role))
    asking = RoleQuestions(manifest.prompt, roles)
    return TrainingBase(pack.base_path, sha256, pack.name, asking, manifest.answer.format, pack)


def without_examples(roles: Roles, which: list[Role]) -> Roles:
    """The roles, `which` of them asked without examples."""
    changes = {role.value: roles[role].model_copy(update={"examples": ()}) for role in which}
    return roles.model_copy(update=changes)


def _questions(prompts: PromptSettings) -> RoleQuestions:
    roles = Roles(
        **{
            role.value: RoleSettings(prompt=getattr(prompts, role.value), max_tokens=_REPLY_TOKENS)
            for role in Role
        }
    )
    return RoleQuestions(Prompt(system=prompts.system), roles)


def _checked_sha256(path: Path, expected: str | None, places: Places) -> str:
    try:
        sha256 = known_sha256_of(path, places.verified)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if expected not in (None, sha256):
        raise ModelFileError(
            f"{path}: the base has SHA-256 {sha256}, the recipe wants {expected}; an adapter that "
            "is trained on another base is worth little. Get that base, or correct the hash."
        )
    check_base(path)
    return sha256


def _model_path(settings: BaseSettings, folder: Path) -> Path:
    """The file or folder on this machine; one on the hub is fetched."""
    for path in (folder / Path(settings.model).expanduser(), Path(settings.model).expanduser()):
        if path.is_file() or (path / "config.json").is_file():
            return path.resolve()
        if path.is_dir():
            raise ModelFileError(f"{path}: no config.json; expected the folder of a model")
    if settings.model.count("/") != 1 or settings.model.startswith((".", "/", "~")):
        raise ModelFileError(f"{settings.model}: no such GGUF file or Hugging Face folder")
    return _fetched(settings)


def _fetched(settings: BaseSettings) -> Path:
    from lorid_edge.train.requirements import require_training_packages

    require_training_packages()
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(
            settings.model,
            revision=settings.revision,
            allow_patterns=["*.json", "*.safetensors", "tokenizer.model", "*.jinja"],
            local_files_only=is_offline(),
        )
    except Exception as error:  # the hub's client raises errors of many libraries
        reason = str(error).partition("\n")[0]
        raise LoridError(
            f"{settings.model}: not on this machine, and not to be had from the hub: {reason} "
            "Put the model into a folder and say --set base.model=FOLDER."
        ) from error
    return Path(path)
