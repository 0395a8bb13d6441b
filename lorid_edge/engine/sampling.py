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

LogitsRow = npt.NDArray[np.float32]

CANDIDATE_NATS = 20.0
"""Tokens this far below the best, in nats after temperature, are left out of a draw.

Each is less than 2.1e-9 as likely as the best one. With top-k on, the result differs from the full
vocabulary's only where fewer than k tokens are nearer than this: by less than k * 2.1e-9.
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


class Sampler:
    """One sequence's sampler. Free it with `close`."""

    def __init__(self, settings: SamplingSettings, seed: int) -> None:
        self._settings = settings
        self._binding = binding = native.load()
        self._chain: Any = None
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
        if self._chain is None:
            return int(np.argmax(logits))
        floor = float(logits.max()) - CANDIDATE_NATS * self._settings.temperature
        tokens = np.flatnonzero(logits > floor)
        candidates = np.empty(len(tokens), dtype=_CANDIDATE)
        candidates["id"] = tokens
        candidates["logit"] = logits[tokens]
        candidates["p"] = 0.0
        binding = self._binding
        array = binding.llama_token_data_array(
            data=ctypes.cast(candidates.ctypes.data, binding.llama_token_data_p),
            size=len(candidates),
            selected=-1,
            sorted=False,
        )
        binding.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def close(self) -> None:
        """Free the chain."""
        if self._chain is not None:
            self._binding.llama_sampler_free(self._chain)
            self._chain = None
