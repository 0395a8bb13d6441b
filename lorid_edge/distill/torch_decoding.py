"""Replies to many prompts that begin alike, decoded together in torch.

Each forward pass takes the next token of every reply under way and the whole prompts of those that
begin, without padding: the weights are read once for all of them, and as soon as a reply ends, the
next prompt has its place. What all prompts begin with is evaluated once; its keys and values are
attended to by all. Everything but attention is the transformers model's own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from lorid_edge.distill.packed_linear import pack_linear_layers
from lorid_edge.distill.row_attention import Heads, LayerCache
from lorid_edge.errors import ModelFileError

ATTENTION = "lorid_edge_rows"
_LENGTH_STEP = 32
_CANDIDATES = 64
"""Tokens that are sampled among: at the temperatures of a teacher the others have no share."""


@dataclass
class Row:
    """One reply under way.

    Attributes:
        key: whose it is, for the caller.
        prompt: the tokens after the common prefix; at least one.
        tokens: of the reply so far, without the one that ended it.
        is_cut: it reached `max_tokens`.
    """

    key: str
    prompt: Sequence[int]
    temperature: float
    max_tokens: int
    random: random.Random
    tokens: list[int] = field(default_factory=list)
    is_cut: bool = False

    @property
    def position(self) -> int:
        """Of its last token, counted from the end of the prefix."""
        return len(self.prompt) + len(self.tokens) - 1


@dataclass(frozen=True)
class _Pass:
    """What attention has to know of a forward pass.

    Attributes:
        positions: for each reply under way, in the order of their places, where its token stands.
        prompts: how many tokens each prompt has; their places follow those of the replies.
        is_prefix: the pass evaluates the common prefix itself.
    """

    positions: torch.Tensor
    prompts: tuple[int, ...]
    is_prefix: bool = False


class RowDecoder:
    """Decodes rows with one model.

    Places of rows under way are always the first ones, so that what attention reads is a view.
    """

    def __init__(
        self, model: Any, prefix: Sequence[int], ends: frozenset[int], *, places: int
    ) -> None:
        """Evaluate the prefix.

        Args:
            model: a causal language model of transformers, in evaluation mode. It is made over for
                this use and is of none other afterwards.
            prefix: tokens that all prompts begin with; at least one.
            ends: tokens that end a reply.
            places: rows decoded at once.

        Raises ModelFileError: its attention is none that this can stand in for.
        """
        _use_rows(model)
        pack_linear_layers(model)
        self._model, self._ends, self._places = model, ends, places
        self._device = model.device
        self._prefix_tokens = len(prefix)
        self._caches: dict[int, LayerCache] = {}
        self._length = 0
        self.rows: list[Row] = []
        nothing = torch.zeros(0, dtype=torch.long, device=self._device)
        self._forward(list(prefix), list(range(len(prefix))), _Pass(nothing, (), is_prefix=True))

    @property
    def free_places(self) -> int:
        """How many rows can begin with the next step."""
        return self._places - len(self.rows)

    def step(self, beginning: Sequence[Row]) -> list[Row]:
        """One token for every row, those that begin included; returns the rows that ended."""
        assert len(beginning) <= self.free_places
        with torch.inference_mode():
            logits = self._next_logits(beginning)
            for row, token in zip(self.rows, _sample(logits, self.rows), strict=True):
                row.tokens.append(token)
            return self._take_ended()

    def _next_logits(self, beginning: Sequence[Row]) -> torch.Tensor:
        """(rows, vocabulary) after a pass; the rows that begin are under way from now on."""
        self._fit((*self.rows, *beginning))
        positions = [row.position for row in self.rows]
        tokens = [row.tokens[-1] for row in self.rows]
        last = list(range(len(tokens)))
        places = [self._prefix_tokens + position for position in positions]
        for row in beginning:
            tokens += row.prompt
            places += range(self._prefix_tokens, self._prefix_tokens + len(row.prompt))
            last.append(len(tokens) - 1)
        now = _Pass(
            torch.tensor(positions, dtype=torch.long, device=self._device),
            tuple(len(row.prompt) for row in beginning),
        )
        hidden = self._forward(tokens, places, now)
        self.rows += beginning
        logits: torch.Tensor = self._model.get_output_embeddings()(hidden[last])
        return logits

    def _forward(self, tokens: list[int], places: list[int], now: _Pass) -> torch.Tensor:
        """(tokens, width) hidden states."""
        states: torch.Tensor = self._model.base_model(
            input_ids=torch.tensor([tokens], device=self._device),
            position_ids=torch.tensor([places], device=self._device),
            use_cache=False,
            rows=(self, now),
        ).last_hidden_state
        return states[0]

    def _fit(self, rows: Sequence[Row]) -> None:
        """Give each place as many tokens as the longest row needs, and little more.

        All of a place is attended to: products over a part of it would copy that part first.
        """
        needed = max((row.position + 1 for row in rows), default=0)
        if needed <= self._length <= needed + 3 * _LENGTH_STEP:
            return
        self._length = needed + _LENGTH_STEP
        for cache in self._caches.values():
            cache.resize(len(self.rows), self._length)

    def _take_ended(self) -> list[Row]:
        ended = []
        for place in reversed(range(len(self.rows))):
            row = self.rows[place]
            is_end = row.tokens[-1] in self._ends
            if not is_end and len(row.tokens) < row.max_tokens:
                continue
            row.is_cut = not is_end
            if is_end:
                row.tokens.pop()
            moved = self.rows.pop()  # the last row takes the place that falls free
            if moved is not row:
                self.rows[place] = moved
                for cache in self._caches.values():
                    cache.move(len(self.rows), place)
            ended.append(row)
        return ended

    def attend(self, layer: int, heads: Heads, now: _Pass) -> torch.Tensor:
        """(heads, tokens, size) of a pass: each row over the prefix and its own tokens."""
        if now.is_prefix:
            self._caches[layer] = LayerCache(heads, self._places)
            return heads.over(heads.keys, heads.values)
        cache = self._caches[layer]
        rows = len(now.positions)
        parts = [cache.attend_replies(heads.part(0, rows), now.positions)] if rows else []
        begin = rows
        for place, tokens in enumerate(now.prompts, start=rows):
            parts.append(cache.attend_prompt(heads.part(begin, begin + tokens), place))
            begin += tokens
        return torch.cat(parts, dim=1)


def _use_rows(model: Any) -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)
    try:
        model.set_attn_implementation(ATTENTION)
    except (ValueError, AttributeError) as error:
        raise ModelFileError(
            f"{model.config.model_type}: attention of this kind cannot be replaced: {error}"
        ) from error


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    rows: tuple[RowDecoder, _Pass] | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What each layer calls: (1, heads, tokens, size) to (1, tokens, heads, size)."""
    if rows is None or softcap is not None or s_aux is not None:
        raise ModelFileError(f"{type(module).__name__}: attention of a kind that is not known here")
    decoder, now = rows
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    heads = Heads(query[0], key[0], value[0], scale, sliding_window)
    return decoder.attend(module.layer_idx, heads, now).transpose(0, 1).unsqueeze(0), None


def _sample(logits: torch.Tensor, rows: Sequence[Row], top_p: float = 0.95) -> list[int]:
    """A token for each row (rows, vocabulary), by its temperature and its own random numbers."""
    count = min(_CANDIDATES, logits.shape[-1])
    best, tokens = logits.topk(count, dim=-1)
    temperatures = torch.tensor([row.temperature for row in rows], device=logits.device)
    shares = (best.float() / temperatures[:, None]).softmax(-1)
    up_to = shares.cumsum(-1)
    shares = shares.masked_fill(up_to - shares >= top_p, 0.0)  # the best is always kept
    up_to = shares.cumsum(-1)
    drawn = torch.tensor([row.random.random() for row in rows], device=logits.device)
    chosen = (up_to <= drawn[:, None] * up_to[:, -1:]).sum(-1, keepdim=True)
    sampled: list[int] = tokens.gather(-1, chosen.clamp_max(count - 1))[:, 0].tolist()
    return sampled
