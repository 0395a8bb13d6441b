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
from lorid_edge.train.descent.shapes import POSITION_STEP, filled

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

    @property
    def group(self) -> int:
        """Query heads that share a key head."""
        return self.queries // self.keys


@dataclass(frozen=True)
class Reach:
    """Which rows attend to which: those from `first` on to the common prefix and the example's own.

    Attributes:
        start, stop: the example's own rows; the last row attends to all of them.
        first: the first of them that attends.
        prefix: rows of the common prefix.
        mask: (rows, keys), both filled up: 0 where a row's position may look, else minus infinity.
            Each position has as many rows as query heads share a key head.
    """

    start: int
    first: int
    stop: int
    prefix: int
    mask: torch.Tensor

    @property
    def queries(self) -> slice:
        """The rows that attend."""
        return slice(self.first, self.stop)

    @property
    def own(self) -> slice:
        """The example's rows that are attended to."""
        return slice(self.start, self.stop)

    @property
    def positions(self) -> int:
        """How many attend."""
        return self.stop - self.first

    @property
    def keys(self) -> int:
        """How many are attended to."""
        return self.prefix + self.stop - self.start


def reaches(batch: Pass, only_trained: bool, heads: Heads, dtype: torch.dtype) -> list[Reach]:
    """Of the prefix and of each example; with `only_trained` those rows alone attend.

    Long ones are cut: the first rows need not be multiplied with keys that are ahead of them.
    """
    parts = [] if only_trained else [(0, 0, batch.prefix_tokens, 0)]
    for part in batch.segments:
        first = part.first_row if only_trained else part.start
        parts.append((part.start, first, part.stop, batch.prefix_tokens))
    found = []
    for start, begin, end, prefix in parts:
        for first, stop in _cut(begin, end):
            mask = _mask(stop - first, prefix + stop - start, dtype)
            mask = mask.repeat_interleave(heads.group, 0)
            found.append(Reach(start, first, stop, prefix, mask))
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
        count: int,
    ) -> torch.Tensor:
        """qkv: (rows, (queries + 2 keys) * size); cosine, sine: (rows, 1, size).

        Gives (count, queries * size): the asking rows in the order of `reaches`, and zeros behind.
        """
        every = qkv.view(qkv.shape[0], heads.rotated + heads.keys, heads.size)
        rotated = kernels.rotate(every[:, : heads.rotated], cosine, sine)
        queries, keys = rotated.split((heads.queries, heads.keys), dim=1)
        values = every[:, heads.rotated :]
        attended = qkv.new_zeros(count, heads.queries, heads.size)
        saved, start = [cosine, sine], 0
        for reach in reaches:
            rows = _by_key_head(queries[reach.queries], heads)
            own_keys, own_values = (_reached(part, reach) for part in (keys, values))
            scores = torch.baddbmm(
                reach.mask, rows, own_keys.transpose(1, 2), alpha=heads.size**-0.5
            )
            weights = torch.softmax(scores, 2)
            stop = start + reach.positions
            attended[start:stop] = _by_position(torch.bmm(weights, own_values), reach, heads)
            start = stop
            saved += [rows, own_keys, own_values, weights]
        context.save_for_backward(*saved)
        context.reaches, context.heads, context.rows = reaches, heads, qkv.shape[0]
        return attended.flatten(1)

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
            stop = start + reach.positions
            asked = _by_key_head(gradient[start:stop], heads)
            start = stop
            at_weights = torch.bmm(asked, values.transpose(1, 2))
            at_scores = torch._softmax_backward_data(at_weights, weights, 2, weights.dtype)
            at_rows = torch.bmm(at_scores, keys).mul_(heads.size**-0.5)
            at_qkv[reach.queries, : heads.queries] = _by_position(at_rows, reach, heads)
            _add(at_values, torch.bmm(weights.transpose(1, 2), asked), reach)
            own = torch.bmm(at_scores.transpose(1, 2), rows).mul_(heads.size**-0.5)
            _add(at_keys, own, reach)
        rotated = at_qkv[:, : heads.rotated]
        rotated.copy_(kernels.rotate(rotated, cosine, -sine))
        return at_qkv.flatten(1), None, None, None, None, None


def _cut(first: int, stop: int) -> Iterator[tuple[int, int]]:
    """Rows in parts of `_ROWS`; the last may have nearly twice as many."""
    while first < stop:
        end = first + _ROWS if stop - first >= 2 * _ROWS else stop
        yield first, end
        first = end


def _mask(positions: int, keys: int, dtype: torch.dtype) -> torch.Tensor:
    """See `Reach.mask`; of one query head. Positions that fill up see all keys, not none."""
    position = torch.arange(filled(positions, POSITION_STEP))[:, None]
    key = torch.arange(filled(keys, POSITION_STEP))
    is_seen = (key <= position + keys - positions) & (key < keys)
    return torch.zeros(is_seen.shape, dtype=dtype).masked_fill_(~is_seen, float("-inf"))


def _by_key_head(queries: torch.Tensor, heads: Heads) -> torch.Tensor:
    """(count, heads, size) as (key heads, filled count * heads of one key head, size)."""
    count = queries.shape[0]
    shape = (heads.keys, filled(count, POSITION_STEP), heads.group, heads.size)
    rows = queries.new_empty(shape)
    rows[:, :count] = queries.view(count, heads.keys, heads.group, heads.size).transpose(0, 1)
    rows[:, count:] = 0
    return rows.flatten(1, 2)


def _by_position(rows: torch.Tensor, reach: Reach, heads: Heads) -> torch.Tensor:
    """The inverse of `_by_key_head`."""
    shape = (heads.keys, -1, heads.group, heads.size)
    by_position = rows.view(shape)[:, : reach.positions].transpose(0, 1)
    return by_position.reshape(-1, heads.queries, heads.size)


def _reached(part: torch.Tensor, reach: Reach) -> torch.Tensor:
    """Of (rows, key heads, size) what the reach holds: (key heads, filled count, size)."""
    held = part.new_empty(part.shape[1], filled(reach.keys, POSITION_STEP), part.shape[2])
    held[:, : reach.prefix] = part[: reach.prefix].transpose(0, 1)
    held[:, reach.prefix : reach.keys] = part[reach.own].transpose(0, 1)
    held[:, reach.keys :] = 0
    return held


def _add(total: torch.Tensor, part: torch.Tensor, reach: Reach) -> None:
    """Add gradients (key heads, filled count, size) where `_reached` took values from."""
    by_row = part.transpose(0, 1)
    total[reach.own] += by_row[reach.prefix : reach.keys]
    if reach.prefix:
        total[: reach.prefix] += by_row[: reach.prefix]
