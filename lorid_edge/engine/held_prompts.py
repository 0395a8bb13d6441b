"""Prompts that are evaluated once, in a sequence of their own, and begun with by many samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lorid_edge.engine.context import Context

FIXED = -1
"""The group of prompts that stay as long as the adapter does."""


@dataclass
class HeldPrompt:
    """Evaluated tokens kept for later requests.

    Attributes:
        identifier: its sequence.
        group: the problem that it is held for, or FIXED.
        own_cells: the cells that it does not share with another one.
        evaluated: how many of its tokens are in the KV.
    """

    identifier: int
    tokens: tuple[int, ...]
    group: int
    own_cells: int
    evaluated: int = 0

    @property
    def is_ready(self) -> bool:
        return self.evaluated == len(self.tokens)


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
        """Begin one, with as much copied from the ready ones as they share with it."""
        held = self._begin(tokens, group)
        ready = [other for other in self._held if other.is_ready]
        if ready and tokens:
            best = max(ready, key=lambda other: _shared_prefix(other.tokens, tokens))
            held.evaluated = _shared_prefix(best.tokens, tokens)
            held.own_cells -= held.evaluated
            self._context.copy(best.identifier, held.identifier, held.evaluated)
        self._held.append(held)
        return held

    def hold_fixed(self, tokens: tuple[int, ...]) -> HeldPrompt:
        """Begin a fixed one.

        It shares nothing, so that one that is restored lies in the same cells as one that is
        evaluated: samples then come out the same to the last bit.
        """
        held = self._begin(tokens, FIXED)
        self._held.append(held)
        return held

    def missing_tokens(self, tokens: tuple[int, ...], *, only_fixed: bool = False) -> int:
        """How many of these are in no ready prompt, or in none that stays."""
        prompts = (h for h in self._held if (h.group == FIXED if only_fixed else h.is_ready))
        shared = (_shared_prefix(held.tokens, tokens) for held in prompts)
        return len(tokens) - max(shared, default=0)

    @property
    def cells(self) -> int:
        """Cells that they take together."""
        return sum(held.own_cells for held in self._held)

    @property
    def fixed_cells(self) -> int:
        """Cells of those that stay."""
        return sum(held.own_cells for held in self._held if held.group == FIXED)

    def drop(self, is_unwanted: Callable[[HeldPrompt], bool]) -> None:
        """Forget those for which it is true."""
        for held in [held for held in self._held if is_unwanted(held)]:
            self._held.remove(held)
            self._context.forget(held.identifier)

    def _begin(self, tokens: tuple[int, ...], group: int) -> HeldPrompt:
        return HeldPrompt(self._context.take_sequence(), tokens, group, len(tokens))


def _shared_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Number of leading tokens that both have."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
