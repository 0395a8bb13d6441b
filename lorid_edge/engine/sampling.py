"""Drawing the next token from a row of logits, with a sampler chain and seed of its own.

The chain is llama.cpp's (temperature, then top-k, then top-p, then the draw: the order of Hugging
Face's generate, in which the method's settings are given). llama.cpp itself would first build an
array of the whole vocabulary, 152,000 entries for Qwen, and hand that to the chain; here the
candidates are bounded before.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lorid_edge.engine import native
from lorid_edge.errors import EngineError

LogitsRow = npt.NDArray[np.float32]

CANDIDATE_NATS = 20.0
"""Tokens this far below the best, in nats after temperature, are left out of a draw.

Each is less than 2.1e-9 as likely as the best one. With top-k on, the result differs from the full
vocabulary's only where fewer than k tokens are nearer than this: by less than k * 2.1e-9.
"""

ENTROPY_NATS = 14.0
"""Tokens this far below the best are left out of an entropy, whatever the temperature.

Each would add less than 1.3e-5 nats.
"""

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)], align=True)


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn.

    Attributes:
        temperature: 0 takes the likeliest token always; the paper uses 1.5.
        top_k: only the k likeliest tokens; 0 for no limit.
        top_p: only the likeliest tokens that together reach this probability (0 to 1).
    """

    temperature: float = 0.7
    top_k: int = 64
    top_p: float = 0.95


class Grammar:
    """What a text may look like, in llama.cpp's GBNF, and how far one sample has come in it."""

    def __init__(self, vocabulary: Any, grammar: str) -> None:
        """Args:
        vocabulary: llama.cpp's handle, `Model.vocabulary`.
        grammar: with a rule `root`.

        Raises:
            EngineError: llama.cpp cannot read the grammar.
        """
        self._binding = binding = native.load()
        self._sampler: Any = binding.llama_sampler_init_grammar(
            vocabulary, grammar.encode("utf-8"), b"root"
        )
        if not self._sampler:
            raise EngineError(f"llama.cpp cannot read this grammar:\n{grammar}")

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        candidate = np.zeros(1, dtype=_CANDIDATE)
        candidate["id"] = token
        _apply(self._binding, self._sampler, candidate)
        return bool(candidate["logit"][0] > -np.inf)

    def restrict(self, logits: LogitsRow) -> LogitsRow:
        """A copy of `logits` in which every token that may not come next has -inf."""
        candidates = np.zeros(len(logits), dtype=_CANDIDATE)
        candidates["id"] = np.arange(len(logits))
        candidates["logit"] = logits
        _apply(self._binding, self._sampler, candidates)
        restricted = np.empty_like(logits)
        restricted[candidates["id"]] = candidates["logit"]
        return restricted

    def accept(self, token: int) -> None:
        """Go on by `token`, which is allowed."""
        self._binding.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        """Free the grammar."""
        if self._sampler is not None:
            self._binding.llama_sampler_free(self._sampler)
            self._sampler = None


class Sampler:
    """One sequence's sampler. Free it with `close`.

    Attributes:
        entropy_nats: of the model's distribution (at temperature 1) over the token drawn last: 0
            where it was sure.
    """

    def __init__(
        self, settings: SamplingSettings, seed: int, grammar: Grammar | None = None
    ) -> None:
        self._settings = settings
        self._binding = binding = native.load()
        self._grammar = grammar
        self._reach_nats = max(CANDIDATE_NATS * settings.temperature, ENTROPY_NATS)
        self._chain: Any = None
        self.entropy_nats = 0.0
        if settings.temperature <= 0:
            return
        chain = binding.llama_sampler_chain_init(binding.llama_sampler_chain_default_params())
        binding.llama_sampler_chain_add(
            chain, binding.llama_sampler_init_temp(settings.temperature)
        )
        if settings.top_k > 0:
            binding.llama_sampler_chain_add(chain, binding.llama_sampler_init_top_k(settings.top_k))
        if settings.top_p < 1:
            binding.llama_sampler_chain_add(
                chain, binding.llama_sampler_init_top_p(settings.top_p, 1)
            )
        binding.llama_sampler_chain_add(chain, binding.llama_sampler_init_dist(seed & 0xFFFFFFFF))
        self._chain = chain

    def sample(self, logits: LogitsRow, banned: npt.NDArray[np.int32] | None = None) -> int:
        """Draw a token.

        Args:
            logits: (vocabulary_size,) float32, as llama.cpp leaves them; not written to.
            banned: token ids that must not come, or None.
        """
        if banned is not None:
            logits = logits.copy()
            logits[banned] = -np.inf
        token = self._draw(logits)
        if self._grammar is not None:
            # Most draws are allowed, and asking about one token is far cheaper than about all.
            if not self._grammar.allows(token):
                token = self._draw(self._grammar.restrict(logits))
            self._grammar.accept(token)
        return token

    def _draw(self, logits: LogitsRow) -> int:
        best = float(logits.max())
        tokens = np.flatnonzero(logits > best - self._reach_nats)
        near = logits[tokens]
        self.entropy_nats = _entropy_nats(near[near > best - ENTROPY_NATS] - best)
        if self._chain is None:
            return int(tokens[np.argmax(near)])
        candidates = np.empty(len(tokens), dtype=_CANDIDATE)
        candidates["id"] = tokens
        candidates["logit"] = near
        candidates["p"] = 0.0
        array = _apply(self._binding, self._chain, candidates)
        return int(array.data[array.selected].id)

    def close(self) -> None:
        """Free the chain and the grammar."""
        if self._chain is not None:
            self._binding.llama_sampler_free(self._chain)
            self._chain = None
        if self._grammar is not None:
            self._grammar.close()
            self._grammar = None


def _entropy_nats(relative: npt.NDArray[np.float32]) -> float:
    """The entropy of a softmax over logits, given as their distance to the largest (0 or below)."""
    probabilities = np.exp(relative)
    total = float(probabilities.sum())
    return float(np.log(total) - np.dot(probabilities, relative) / total)


def _apply(binding: Any, sampler: Any, candidates: npt.NDArray[Any]) -> Any:
    """Hand candidates to a sampler of llama.cpp, which may reorder or change them in place."""
    array = binding.llama_token_data_array(
        data=ctypes.cast(candidates.ctypes.data, binding.llama_token_data_p),
        size=len(candidates),
        selected=-1,
        sorted=False,
    )
    binding.llama_sampler_apply(sampler, ctypes.byref(array))
    return array
