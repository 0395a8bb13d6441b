"""From a pack's role prompts to token ids, with the base's own chat template.

The parts that a user or a model wrote (question, knowledge) are tokenized on their own and never
as control tokens, so that a question holding `<|im_end|>` cannot end its turn. It also fixes where
token boundaries fall: the text before the question gives the same tokens for every question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lorid_edge.errors import PackError
from lorid_edge.packs.manifest import KNOWLEDGE, QUESTION, Roles, RoleSettings
from lorid_edge.packs.manifest import Prompt as CommonPrompt
from lorid_edge.roles import Role

# Characters of Unicode's private use area: no template produces them by itself.
_MARKS = {QUESTION: "\ue000", KNOWLEDGE: "\ue001"}
_REPLY_MARK = "\ue002"


class Vocabulary(Protocol):
    """What prompts need of a base: its tokenizer and its chat template. See `engine.Model`."""

    path: Path

    def chat_template(self) -> str | None: ...
    def tokenize(self, text: str, *, special: bool) -> list[int]: ...
    def beginning_tokens(self) -> list[int]: ...
    def beginning_and_end_text(self) -> tuple[str, str]: ...
    def end_token(self) -> int: ...


class Asking(Protocol):
    """How the roles are asked; a pack's manifest is one."""

    @property
    def prompt(self) -> CommonPrompt: ...
    @property
    def roles(self) -> Roles: ...


@dataclass(frozen=True)
class Prompt:
    """A prompt as token ids.

    Attributes:
        tokens: the whole prompt.
        hold_tokens: the leading tokens that further samples of this problem and role share.
    """

    tokens: tuple[int, ...]
    hold_tokens: int


def estimate_fixed_tokens(system: str, settings: RoleSettings) -> int:
    """About the most tokens that stand before a role's question, told without a tokenizer.

    Two bytes of text a token, and the template's own (English prose has 4 to 5, arithmetic some 3).
    """
    examples = ((e.question, e.knowledge, e.reply) for e in settings.examples)
    texts = [system, *(part for example in examples for part in example)]
    texts += [settings.prompt] * (1 + len(settings.examples))
    return 64 + sum(len(text.encode()) for text in texts) // 2


class RolePrompts:
    """The prompts of a pack's three roles, rendered once."""

    def __init__(self, model: Vocabulary, manifest: Asking) -> None:
        """Render the templates.

        Raises:
            PackError: the base's chat template cannot be rendered.
        """
        self._templates = {
            role: PromptTemplate(model, manifest.prompt.system, manifest.roles[role])
            for role in Role
        }

    def fixed(self, role: Role) -> tuple[int, ...]:
        """The tokens in front of the question: the same for every problem."""
        return self._templates[role].fixed

    def build(self, role: Role, question: str, knowledge: str = "") -> Prompt:
        """The prompt for one sample; `knowledge` is used by the deep reasoner alone."""
        return self._templates[role].build(question, knowledge)

    def end_of_turn(self) -> int:
        """The token that ends a role's reply. Raises PackError: the base knows no such token."""
        return next(iter(self._templates.values())).end_of_turn()


class PromptTemplate:
    """One prompt with its system text and examples, rendered once and filled many times.

    Attributes:
        fixed: the tokens in front of the question.
    """

    def __init__(self, model: Vocabulary, system: str, settings: RoleSettings) -> None:
        """Render the template.

        Raises:
            PackError: the base's chat template cannot be rendered.
        """
        self._model = model
        self._tokens_of_text: dict[str, tuple[int, ...]] = {}
        pattern = "([" + "".join(_MARKS.values()) + "])"
        self._segments = re.split(pattern, _render(model, system, settings))
        start = tuple(model.beginning_tokens())
        tokens = self._template_tokens(self._segments[0])
        # Many templates write the beginning-of-text token themselves.
        self.fixed = tokens if tokens[: len(start)] == start else start + tokens

    def build(self, question: str, knowledge: str = "") -> Prompt:
        """The prompt for one question."""
        fillings = {_MARKS[QUESTION]: question.strip(), _MARKS[KNOWLEDGE]: knowledge.strip()}
        tokens = self.fixed
        hold_tokens = None
        for segment in self._segments[1:]:
            if segment == _MARKS[KNOWLEDGE]:
                hold_tokens = len(tokens)  # what follows differs from sample to sample
            if segment in fillings:
                tokens += tuple(self._model.tokenize(fillings[segment], special=False))
            else:
                tokens += self._template_tokens(segment)
        return Prompt(tokens, len(tokens) - 1 if hold_tokens is None else hold_tokens)

    def end_of_turn(self) -> int:
        """The token that ends a role's reply: the template's own or, without one, that of a text.

        Raises:
            PackError: the base knows no such token.
        """
        template = self._model.chat_template()
        token = self._model.end_token()
        if template is not None:
            messages = [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": _REPLY_MARK},
            ]
            text = _render_chat(self._model, template, messages, asks_for_reply=False)
            closing = self._model.tokenize(text.rpartition(_REPLY_MARK)[2].strip(), special=True)
            token = closing[0] if closing else token
        if token < 0:
            raise PackError(f"{self._model.path}: the base has no token that ends a reply.")
        return token

    def _template_tokens(self, text: str) -> tuple[int, ...]:
        tokens = self._tokens_of_text.get(text)
        if tokens is None:
            tokens = tuple(self._model.tokenize(text, special=True)) if text else ()
            self._tokens_of_text[text] = tokens
        return tokens


def _render(model: Vocabulary, system: str, settings: RoleSettings) -> str:
    """One role's prompt as text, with marks where question and knowledge go."""
    turns = [
        (settings.fill(example.question, example.knowledge), example.reply)
        for example in settings.examples
    ]
    prompt = settings.fill(_MARKS[QUESTION], _MARKS[KNOWLEDGE])
    template = model.chat_template()
    if template is None:
        parts = [system, *(f"{asked.strip()}\n{reply}" for asked, reply in turns), prompt.strip()]
        return "\n\n".join(part for part in parts if part) + "\n"
    messages = [{"role": "system", "content": system}] if system else []
    for asked, reply in turns:
        messages.append({"role": "user", "content": asked.strip()})
        messages.append({"role": "assistant", "content": reply.strip()})
    messages.append({"role": "user", "content": prompt.strip()})
    return _render_chat(model, template, messages)


def _render_chat(
    model: Vocabulary,
    template: str,
    messages: list[dict[str, str]],
    *,
    asks_for_reply: bool = True,
) -> str:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    begin, end = model.beginning_and_end_text()
    try:
        return environment.from_string(template).render(
            messages=messages,
            add_generation_prompt=asks_for_reply,
            bos_token=begin,
            eos_token=end,
            raise_exception=refuse,
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise PackError(
            f"The chat template in {model.path} cannot be rendered: {error}. If the base knows no "
            "system message, leave [prompt] system empty in pack.toml."
        ) from error
