"""Prompts that are evaluated once and begun with by many samples.

While it is read, a held prompt has a sequence of the context. After that its KV lies in a block of
memory, from which each sample's own cache is filled: nothing that a context does, or that goes
wrong in it, touches it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lorid_edge.engine.context import Context
from lorid_edge.errors import EngineError

FIXED = -1
"""The group of prompts that stay as long as the adapter does."""


@dataclass
class HeldPrompt:
    """Evaluated tokens kept for later requests.

    Attributes:
        group: the problem that it is held for, or FIXED.
        identifier: its sequence while it is read.
        evaluated: how many of its tokens are.
        state: its KV once all are (`Context.state_of`).
        was_used: whether a sample began with it; its tokens are counted as read before that.
    """

    tokens: tuple[int, ...]
    group: int
    identifier: int | None = None
    evaluated: int = 0
    state: bytes | None = None
    was_used: bool = False

    @property
    def is_ready(self) -> bool:
        return self.state is not None


class HeldPrompts:
    """The held prompts of a context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._held: list[HeldPrompt] = []

    def find(self, tokens: tuple[int, ...], group: int) -> HeldPrompt | None:
        """A prompt of these very tokens that `group` may use."""
        return next(
            (h for h in self._held if h.tokens == tokens and h.group in (group, FIXED)), None
        )

    def first_unread(self) -> HeldPrompt | None:
        """The one to be evaluated next."""
        return next((held for held in self._held if not held.is_ready), None)

    def hold(self, tokens: tuple[int, ...], group: int) -> HeldPrompt:
        """Begin one in a sequence that is free, with what it shares with another of its problem.

        Fixed ones lend, too; those of other problems do not, so that what a problem counts as read
        does not depend on its company.
        """
        held = HeldPrompt(tokens, group)
        self._held.append(held)
        if not tokens:
            held.state = b""
            return held
        held.identifier = self._context.take_sequence()
        lenders = (h for h in self._held if h.is_ready and h.group in (group, FIXED))
        lender = max(lenders, key=lambda other: shared_prefix(other.tokens, tokens), default=None)
        if lender is not None:
            held.evaluated = shared_prefix(lender.tokens, tokens)
            self.lend(lender, held.identifier, held.evaluated)
        self._keep_if_read(held)
        return held

    def hold_fixed(self, tokens: tuple[int, ...], state: bytes | None = None) -> HeldPrompt:
        """Begin a fixed one, or take over the state that it had before if llama.cpp accepts it.

        It shares nothing, so that one that is restored is the same to the last bit as one that is
        evaluated.
        """
        identifier = self._context.take_sequence()
        held = HeldPrompt(tokens, FIXED, identifier)
        held.was_used = True  # what its tokens took belongs to no problem
        self._held.append(held)
        if state is not None and self._context.restore(identifier, state):
            held.evaluated = len(tokens)
            self._keep_if_read(held)
        return held

    def advance(self, held: HeldPrompt, tokens: int) -> None:
        """So many more of its tokens were evaluated."""
        held.evaluated += tokens
        self._keep_if_read(held)

    def lend(self, held: HeldPrompt, identifier: int, tokens: int) -> None:
        """Let an empty sequence begin with the first `tokens` of a prompt that is ready.

        Raises EngineError if llama.cpp refuses its own state.
        """
        if not tokens:
            return
        assert held.state is not None
        if not self._context.restore(identifier, held.state):
            raise EngineError("llama.cpp could not copy the KV cache of a prompt.")
        if tokens < len(held.tokens):
            self._context.truncate(identifier, tokens)

    @property
    def fixed(self) -> list[tuple[int, ...]]:
        """The tokens of those that stay."""
        return [held.tokens for held in self._held if held.group == FIXED]

    def drop(self, is_unwanted: Callable[[HeldPrompt], bool]) -> None:
        """Forget those for which it is true."""
        for held in [held for held in self._held if is_unwanted(held)]:
            self._held.remove(held)
            if held.identifier is not None:
                self._context.forget(held.identifier)

    def _keep_if_read(self, held: HeldPrompt) -> None:
        if held.identifier is not None and held.evaluated == len(held.tokens):
            held.state = self._context.state_of(held.identifier)
            self._context.forget(held.identifier)
            held.identifier = None


def shared_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Number of leading tokens that both have."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
