"""One llama.cpp context: its decodes, their logits, and the KV of its sequences."""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

import numpy as np

from lorid_edge.engine import native
from lorid_edge.engine.batch import Batch
from lorid_edge.engine.decoding_thread import DecodingThread
from lorid_edge.engine.model import AdapterKey, Model
from lorid_edge.engine.sampling import LogitsRow
from lorid_edge.errors import CancelledError, EngineError

BATCH_TOKENS = 512
"""Most tokens of one decode; a longer prompt takes several, with a chance to stop between."""

CELLS_STEP = 256
"""llama.cpp fills each sequence's cache up to a multiple of this."""

PLAIN_ATTENTION_TOKENS = 4096
"""Up to so many tokens of a sequence, attention is two plain products and a softmax.

They are faster than llama.cpp's flash attention where each sequence has a cache of its own (32 of
350 tokens, small, AMX: 200 instead of 414 ms a decode, docs/experiments.md), but keep all scores of
a prompt in memory at once: as many as its tokens times these, for each head.
"""

FEW_SEQUENCES = 4
"""Up to so many sequences lie in one cache, more of them in one each.

In one cache, attention looks at the cells of all sequences for each token. With caches of their
own, llama.cpp decodes together only what sequences have in equal numbers, so that a result of
several tokens costs steps of its own: a tenth of those of `solve`, more than attention costs here.
"""


class Context:
    """A context of a model. Not thread-safe, but for the abort flag.

    A sequence is known by an identifier, the lowest one that is free, which is given back by
    `forget`. Where each has a cache of its own (`has_caches`), those that decode together should
    have equal numbers of tokens and be numbered without gaps (`move`): llama.cpp cuts a decode
    elsewhere.
    """

    def __init__(
        self,
        model: Model,
        abort: native.AbortFlag,
        *,
        sequence_tokens: int,
        sequences: int,
        outputs: int,
        threads: int,
    ) -> None:
        """Args:
        sequence_tokens: most tokens of a sequence.
        sequences: most sequences at once (at most 256).
        outputs: most rows of logits of one decode.

        Raises EngineError if llama.cpp has no memory for it.
        """
        self._binding = binding = native.load()
        self._model = model
        self._abort = abort
        parameters = binding.llama_context_default_params()
        cells = sequences * filled_cells(sequence_tokens)
        parameters.n_ctx = cells
        parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
        parameters.n_seq_max = sequences
        # llama.cpp aborts if this is less than the number of sequences.
        parameters.n_outputs_max = max(outputs, sequences)
        parameters.n_outputs_max_per_seq = parameters.n_outputs_max
        parameters.n_threads = parameters.n_threads_batch = threads
        self.has_caches = sequences > FEW_SEQUENCES
        parameters.kv_unified = not self.has_caches
        is_plain = sequence_tokens <= PLAIN_ATTENTION_TOKENS
        parameters.flash_attn_type = (
            binding.LLAMA_FLASH_ATTN_TYPE_DISABLED
            if is_plain
            else binding.LLAMA_FLASH_ATTN_TYPE_ENABLED
        )
        parameters.no_perf = True
        self._thread = DecodingThread() if native.uses_amx() else None
        with model.occupancy.use():
            self._native: Any = binding.llama_init_from_model(model.handle, parameters)
        if not self._native:
            self.close()
            raise EngineError(
                f"llama.cpp cannot make a context of {cells} tokens for {model.path.name}"
                "; memory is the usual reason. Use a smaller --width or a smaller pack."
            )
        abort.attach(self._native)
        self._memory: Any = binding.llama_get_memory(self._native)
        self._free_identifiers = set(range(sequences))

    def apply(self, key: AdapterKey) -> None:
        """Decode under another adapter from now on; the KV has to be cleared before."""
        self._model.apply_adapter(self._native, key)

    def decode(self, batch: Batch) -> None:
        """Decode once.

        Raises:
            CancelledError: the abort flag was set meanwhile. What the KV holds is not known then.
            EngineError: llama.cpp failed.
        """
        decode = partial(self._binding.llama_decode, self._native, batch.native)
        with self._model.occupancy.use():
            status = decode() if self._thread is None else self._thread.run(decode)
        if status == 0:
            return
        if status == 2 and self._abort.is_set():
            raise CancelledError("Cancelled.")
        reason = {1: "no room in the KV cache", 2: "aborted"}.get(status, "internal error")
        raise EngineError(
            f"llama_decode failed with status {status} ({reason}) on {batch.size} tokens. "
            "Run 'lorid-edge doctor'; with LORID_EDGE_DEBUG=1 the log says more."
        )

    def logits(self, batch: Batch, output: int) -> LogitsRow:
        """Logits of the `output`-th token that asked for them; valid until the next decode."""
        position = batch.output_position(output)
        pointer = self._binding.llama_get_logits_ith(self._native, position)
        return np.ctypeslib.as_array(pointer, (self._model.vocabulary_size,))

    # --- sequences --------------------------------------------------------------------------

    @property
    def free_sequences(self) -> int:
        """How many more can be taken."""
        return len(self._free_identifiers)

    def take_sequence(self) -> int:
        """The identifier of an empty sequence, the lowest that is free."""
        identifier = min(self._free_identifiers)
        self._free_identifiers.remove(identifier)
        return identifier

    def forget(self, identifier: int) -> None:
        """Drop what a sequence holds, and let its identifier be taken again."""
        self._binding.llama_memory_seq_rm(self._memory, identifier, -1, -1)
        self._free_identifiers.add(identifier)

    def move(self, identifier: int) -> int:
        """Give a sequence the lowest free identifier, if that is lower; returns the one it has.

        Raises EngineError if llama.cpp cannot copy it.
        """
        target = min(self._free_identifiers, default=identifier)
        if target >= identifier:
            return identifier
        self._free_identifiers.remove(target)
        if not self.restore(target, self.state_of(identifier)):
            raise EngineError("llama.cpp could not copy the KV cache of a sequence.")
        self.forget(identifier)
        return target

    def truncate(self, identifier: int, tokens: int) -> None:
        """Leave a sequence its first `tokens`."""
        self._binding.llama_memory_seq_rm(self._memory, identifier, tokens, -1)

    def clear(self) -> None:
        """Empty the KV of all sequences."""
        self._binding.llama_memory_clear(self._memory, False)

    def state_of(self, identifier: int) -> bytes:
        """The KV of a sequence, as llama.cpp writes it."""
        size = self._binding.llama_state_seq_get_size(self._native, identifier)
        buffer = (ctypes.c_uint8 * size)()
        self._binding.llama_state_seq_get_data(self._native, buffer, size, identifier)
        return bytes(buffer)

    def restore(self, identifier: int, data: bytes) -> bool:
        """Fill a sequence with what `state_of` gave; whether llama.cpp took all of it."""
        start = ctypes.cast(ctypes.c_char_p(data), ctypes.POINTER(ctypes.c_uint8))
        read_bytes = self._binding.llama_state_seq_set_data(
            self._native, start, len(data), identifier
        )
        return bool(read_bytes == len(data))

    def close(self) -> None:
        """Free it; it may be closed twice."""
        if self._thread is not None:
            self._thread.close()
        if self._native:
            self._binding.llama_free(self._native)
            self._native = None


def filled_cells(sequence_tokens: int) -> int:
    """Cells of KV cache that a sequence of so many tokens takes."""
    return -(-sequence_tokens // CELLS_STEP) * CELLS_STEP
