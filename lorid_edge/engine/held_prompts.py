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
        was_used: whether a sample began with it; its tokens are counted as read before that.
    """

    identifier: int
    tokens: tuple[int, ...]
    group: int
    own_cells: int
    evaluated: int = 0
    was_used: bool = False

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
        """Begin one, with as much copied as it shares with a ready one that will stay as long."""
        held = self._begin(tokens, group)
        lenders = self._lenders(group)
        if lenders and tokens:
            best = max(lenders, key=lambda other: shared_prefix(other.tokens, tokens))
            held.evaluated = shared_prefix(best.tokens, tokens)
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
        held.was_used = True  # what its tokens took belongs to no problem
        self._held.append(held)
        return held

    def missing_tokens(self, tokens: tuple[int, ...], group: int) -> int:
        """How many of these `hold` would not copy."""
        shared = (shared_prefix(held.tokens, tokens) for held in self._lenders(group))
        return len(tokens) - max(shared, default=0)

    @property
    def cells(self) -> int:
        """Cells that they take together."""
        return sum(held.own_cells for held in self._held)

    @property
    def fixed(self) -> list[tuple[int, ...]]:
        """The tokens of those that stay."""
        return [held.tokens for held in self._held if held.group == FIXED]

    def drop(self, is_unwanted: Callable[[HeldPrompt], bool]) -> int:
        """Forget those for which it is true; returns how many these were."""
        unwanted = [held for held in self._held if is_unwanted(held)]
        for held in unwanted:
            self._held.remove(held)
            self._context.forget(held.identifier)
        return len(unwanted)

    def _lenders(self, group: int) -> list[HeldPrompt]:
        """The ready ones that stay until `group` is released.

        Cells borrowed from another one would be nobody's, and so not counted, once it is gone.
        """
        return [held for held in self._held if held.is_ready and held.group in (group, FIXED)]

    def _begin(self, tokens: tuple[int, ...], group: int) -> HeldPrompt:
        return HeldPrompt(self._context.take_sequence(), tokens, group, len(tokens))


def shared_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Number of leading tokens that both have."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
