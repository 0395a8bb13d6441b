"""Causal attention of the examples in a pass, for short sequences on a CPU.

The scores of one example fit the cache, so that plain batched products and a softmax beat torch's
flash attention there by three to one, forward and backward. Query heads that share a key head are
rows of the same product; keys and values are never repeated. Rotary embedding is part of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lorid_edge.train.descent import kernels
from lorid_edge.train.descent.batches import Pass

MOST_TOKENS = 2048  # of an example: the weights of all layers are kept until the backward pass


_ROWS = 96  # that attend at once, at least: fewer make products too small


@dataclass(frozen=True)
class Heads:
    """How many heads there are, and values in each."""

    queries: int
    keys: int
    size: int

    @property
    def rotated(self) -> int:
        """Heads under rotary embedding, queries and keys."""
        return self.queries + self.keys


@dataclass(frozen=True)
class Reach:
    """Which rows attend (`queries`) to which (the common prefix and `own`), the last to all."""

    queries: slice
    own: slice
    prefix: int


def reaches(batch: Pass, only_trained: bool) -> list[Reach]:
    """Of the prefix and of each example; with `only_trained` those rows alone attend.

    Long ones are cut: the first rows need not be multiplied with keys that are ahead of them.
    """
    found: list[Reach] = []
    if not only_trained:
        found += _cut(0, 0, batch.prefix_tokens, 0)
    for part in batch.segments:
        first = part.first_row if only_trained else part.start
        found += _cut(part.start, first, part.stop, batch.prefix_tokens)
    return found


class Attention(torch.autograd.Function):
    """From queries, keys and values side by side to the attended values of the asking rows."""

    @staticmethod
    def forward(
        context: Any,
        qkv: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        reaches: list[Reach],
        heads: Heads,
    ) -> torch.Tensor:
        """qkv: (rows, (queries + 2 keys) * size); cosine, sine: (rows, 1, size).

        Gives (asking rows, queries * size), in the order of `reaches`.
        """
        every = qkv.view(qkv.shape[0], heads.rotated + heads.keys, heads.size)
        rotated = kernels.rotate(every[:, : heads.rotated], cosine, sine)
        queries, keys = rotated.split((heads.queries, heads.keys), dim=1)
        values = every[:, heads.rotated :]
        outputs, saved = [], [cosine, sine]
        for reach in reaches:
            rows = _by_key_head(queries[reach.queries], heads)
            own_keys, own_values = (_reached(part, reach) for part in (keys, values))
            mask = _mask(reach, rows)
            scores = torch.baddbmm(mask, rows, own_keys.transpose(1, 2), alpha=heads.size**-0.5)
            weights = torch.softmax(scores, 2)
            outputs.append(_by_position(torch.bmm(weights, own_values), heads))
            saved += [rows, own_keys, own_values, weights]
        context.save_for_backward(*saved)
        context.reaches, context.heads, context.rows = reaches, heads, qkv.shape[0]
        return torch.cat(outputs).flatten(1)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        heads: Heads = context.heads
        cosine, sine, *saved = context.saved_tensors
        gradient = gradients[0].view(-1, heads.queries, heads.size)
        at_qkv = gradient.new_zeros(context.rows, heads.rotated + heads.keys, heads.size)
        at_keys = at_qkv[:, heads.queries : heads.rotated]
        at_values = at_qkv[:, heads.rotated :]
        start = 0
        for index, reach in enumerate(context.reaches):
            rows, keys, values, weights = saved[4 * index : 4 * index + 4]
            stop = start + reach.queries.stop - reach.queries.start
            asked = _by_key_head(gradient[start:stop], heads)
            start = stop
            at_weights = torch.bmm(asked, values.transpose(1, 2))
            at_scores = torch._softmax_backward_data(at_weights, weights, 2, weights.dtype)
            at_rows = torch.bmm(at_scores, keys).mul_(heads.size**-0.5)
            at_qkv[reach.queries, : heads.queries] = _by_position(at_rows, heads)
            _add(at_values, torch.bmm(weights.transpose(1, 2), asked), reach)
            own = torch.bmm(at_scores.transpose(1, 2), rows).mul_(heads.size**-0.5)
            _add(at_keys, own, reach)
        rotated = at_qkv[:, : heads.rotated]
        rotated.copy_(kernels.rotate(rotated, cosine, -sine))
        return at_qkv.flatten(1), None, None, None, None


def _cut(start: int, first: int, stop: int, prefix: int) -> Iterator[Reach]:
    """Of the rows from `first`, whose own keys begin at `start`."""
    while first < stop:
        end = first + _ROWS if stop - first >= 2 * _ROWS else stop
        yield Reach(slice(first, end), slice(start, end), prefix)
        first = end


def _by_key_head(queries: torch.Tensor, heads: Heads) -> torch.Tensor:
    """(count, heads, size) as (key heads, count * heads of one key head, size)."""
    shape = (queries.shape[0], heads.keys, heads.queries // heads.keys, heads.size)
    return queries.view(shape).transpose(0, 1).reshape(heads.keys, -1, heads.size)


def _by_position(rows: torch.Tensor, heads: Heads) -> torch.Tensor:
    """The inverse of `_by_key_head`."""
    shape = (heads.keys, -1, heads.queries // heads.keys, heads.size)
    return rows.view(shape).transpose(0, 1).reshape(-1, heads.queries, heads.size)


def _reached(part: torch.Tensor, reach: Reach) -> torch.Tensor:
    """Of (rows, key heads, size) what the reach holds: (key heads, count, size)."""
    own = part[reach.own]
    held = torch.cat((part[: reach.prefix], own)) if reach.prefix else own
    return held.transpose(0, 1).contiguous()


def _add(total: torch.Tensor, part: torch.Tensor, reach: Reach) -> None:
    """Add gradients (key heads, count, size) where `_reached` took values from."""
    by_row = part.transpose(0, 1)
    total[reach.own] += by_row[reach.prefix :]
    if reach.prefix:
        total[: reach.prefix] += by_row[: reach.prefix]


def _mask(reach: Reach, rows: torch.Tensor) -> torch.Tensor:
    """(rows, keys): 0 where the row's position may look, else minus infinity."""
    count = reach.queries.stop - reach.queries.start
    total = reach.prefix + reach.own.stop - reach.own.start
    ahead = torch.ones(count, total, dtype=torch.bool).triu(total - count + 1)
    mask = rows.new_zeros(count, total).masked_fill_(ahead, float("-inf"))
    return mask.repeat_interleave(rows.shape[1] // count, 0)
