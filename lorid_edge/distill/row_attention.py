"""Attention of rows that begin alike: over the prefix of all, and each over its own tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Heads:
    """Queries (heads, tokens, size), keys and values (key heads, tokens, size) of one layer.

    Attributes:
        scale: of the scores.
        window: how far back a token looks; None for to the beginning.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scale: float
    window: int | None

    def part(self, begin: int, end: int) -> Heads:
        """The same of some tokens."""
        queries, keys, values = (
            tensor[:, begin:end] for tensor in (self.queries, self.keys, self.values)
        )
        return Heads(queries, keys, values, self.scale, self.window)

    def grouped(self) -> torch.Tensor:
        """Scaled queries as (key heads, heads of a group x tokens, size)."""
        _, tokens, size = self.queries.shape
        groups = self.queries.shape[0] // self.keys.shape[0]
        return (self.queries * self.scale).reshape(self.keys.shape[0], groups * tokens, size)

    def over(self, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Causal attention over keys and values of which the last are the tokens' own."""
        tokens, seen = self.queries.shape[1], keys.shape[1]
        hidden = _hidden(tokens, seen, self.window, keys.device)
        scores = self.grouped() @ keys.transpose(1, 2)
        scores.view(keys.shape[0], -1, tokens, seen).masked_fill_(hidden, float("-inf"))
        return (scores.softmax(-1) @ values).view(self.queries.shape)


class LayerCache:
    """Keys and values of one layer.

    Attributes:
        prefix_keys, prefix_values: (key heads, tokens, size).
        keys, values: each place's own, (places, key heads, tokens, size).
    """

    def __init__(self, prefix: Heads, places: int) -> None:
        self.prefix_keys, self.prefix_values = prefix.keys.clone(), prefix.values.clone()
        key_heads, _, size = prefix.keys.shape
        self.keys = prefix.keys.new_zeros((places, key_heads, 0, size))
        self.values = torch.zeros_like(self.keys)

    def resize(self, rows: int, length: int) -> None:
        """Give places `length` tokens; what the first `rows` of them hold is kept."""
        kept = min(length, self.keys.shape[2])
        places, key_heads, _, size = self.keys.shape
        for name in ("keys", "values"):
            before = getattr(self, name)
            after = before.new_zeros((places, key_heads, length, size))
            after[:rows, :, :kept] = before[:rows, :, :kept]
            setattr(self, name, after)

    def move(self, source: int, target: int) -> None:
        """Copy a place's own keys and values to another place."""
        self.keys[target] = self.keys[source]
        self.values[target] = self.values[source]

    def attend_prompt(self, heads: Heads, place: int) -> torch.Tensor:
        """A whole prompt over the prefix and itself; its keys and values are kept."""
        tokens = heads.queries.shape[1]
        self.keys[place, :, :tokens] = heads.keys
        self.values[place, :, :tokens] = heads.values
        return heads.over(
            torch.cat((self.prefix_keys, heads.keys), dim=1),
            torch.cat((self.prefix_values, heads.values), dim=1),
        )

    def attend_replies(self, heads: Heads, positions: torch.Tensor) -> torch.Tensor:
        """One token each of the first rows over the prefix and what is kept of its row."""
        all_heads, rows, size = heads.queries.shape
        key_heads, shared = self.prefix_keys.shape[:2]
        places = torch.arange(rows, device=positions.device)
        self.keys[places, :, positions] = heads.keys.transpose(0, 1)
        self.values[places, :, positions] = heads.values.transpose(0, 1)
        length = self.keys.shape[2]
        queries = heads.grouped().view(key_heads, -1, rows, size)
        own_queries = queries.permute(2, 0, 1, 3)  # (rows, key heads, group, size)
        of_prefix = queries.reshape(key_heads, -1, size) @ self.prefix_keys.transpose(1, 2)
        of_own = own_queries @ self.keys[:rows].transpose(2, 3)
        scores = torch.cat(
            (of_prefix.view(key_heads, -1, rows, shared).permute(2, 0, 1, 3), of_own), dim=-1
        )
        seen = torch.arange(shared + length, device=positions.device)
        here = positions[:, None] + shared
        hidden = seen > here
        if heads.window is not None:
            hidden |= seen <= here - heads.window
        weights = scores.masked_fill_(hidden[:, None, None], float("-inf")).softmax(-1)
        over_prefix = (
            weights[..., :shared].permute(1, 2, 0, 3).reshape(key_heads, -1, shared)
            @ self.prefix_values
        ).view(key_heads, -1, rows, size)
        over_own = (weights[..., shared:] @ self.values[:rows]).permute(1, 2, 0, 3)
        return (over_prefix + over_own).reshape(all_heads, rows, size)


def _hidden(tokens: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """(tokens, keys): which keys a token may not see; the last keys are the tokens' own."""
    seen = torch.arange(keys, device=device)
    here = torch.arange(keys - tokens, keys, device=device)[:, None]
    hidden = seen > here
    return hidden if window is None else hidden | (seen <= here - window)
