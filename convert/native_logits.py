"""Logits of whole prompts from llama.cpp, as exactly as it computes them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lorid_edge.convert.ggml import FloatArray
from lorid_edge.engine import native
from lorid_edge.engine.batch import Batch
from lorid_edge.engine.model import BARE, AdapterKey, Model
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import EngineError

_F32 = 0
_FLASH_ATTENTION_OFF = 0


def tokenize(base: Path, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text as the base's own tokenizer makes them."""
    model = Model(base, use_extra_buffers=False)
    try:
        begin = model.beginning_tokens()
        return [begin + model.tokenize(text, special=False) for text in texts]
    finally:
        model.close()


def native_logits(
    base: Path, prompts: Sequence[Sequence[int]], adapter: Path | None
) -> Iterator[FloatArray]:
    """For each prompt its logits, (tokens, vocabulary), under the adapter or none.

    Keys and values are kept as float32 and weights are not repacked, so that what remains of
    rounding is that of the weights' own types. Files must have been checked before.

    Raises EngineError if llama.cpp fails.
    """
    model = Model(base, use_extra_buffers=False)
    context: Any = None
    binding = native.load()
    try:
        key = BARE if adapter is None else AdapterKey(str(adapter))
        if adapter is not None:
            model.load_adapter(adapter, str(adapter))
        context = binding.llama_init_from_model(model.handle, _parameters(prompts))
        if not context:
            raise EngineError(f"llama.cpp cannot make a context for {base}; memory may be short.")
        model.apply_adapter(context, key)
        for prompt in prompts:
            yield _evaluate(context, model, prompt)
    finally:
        if context:
            binding.llama_free(context)
        model.close()


def _parameters(prompts: Sequence[Sequence[int]]) -> Any:
    parameters = native.load().llama_context_default_params()
    longest = max(map(len, prompts))
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = longest
    parameters.n_threads = parameters.n_threads_batch = choose_threads(None).threads
    parameters.type_k = parameters.type_v = _F32
    parameters.flash_attn_type = _FLASH_ATTENTION_OFF
    parameters.no_perf = True
    return parameters


def _evaluate(context: Any, model: Model, prompt: Sequence[int]) -> FloatArray:
    binding = native.load()
    batch = Batch(len(prompt))
    batch.add(0, 0, list(prompt), outputs=len(prompt))
    binding.llama_memory_clear(binding.llama_get_memory(context), True)
    status = binding.llama_decode(context, batch.native)
    if status != 0:
        raise EngineError(f"llama.cpp failed on a prompt of {len(prompt)} tokens ({status}).")
    count = len(prompt) * model.vocabulary_size
    pointer = ctypes.cast(binding.llama_get_logits(context), ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(pointer, (count,)).reshape(len(prompt), -1).copy()
