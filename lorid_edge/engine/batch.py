"""The arrays of one llama_decode: tokens, positions, sequences and which logits are wanted."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from lorid_edge.engine import native


class Batch:
    """A reusable llama_batch of up to `capacity` tokens, each in one sequence."""

    def __init__(self, capacity: int) -> None:
        binding = native.load()
        self.capacity = capacity
        self.size = 0
        self._tokens = (binding.llama_token * capacity)()
        self._positions = (binding.llama_pos * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*([1] * capacity))
        self._identifiers = (binding.llama_seq_id * capacity)()
        self._wanted = (ctypes.c_int8 * capacity)()
        self._output_positions: list[int] = []
        # Each token belongs to one sequence, so entry i always points to identifier i.
        pointer = ctypes.POINTER(binding.llama_seq_id)
        stride = ctypes.sizeof(binding.llama_seq_id)
        start = ctypes.addressof(self._identifiers)
        self._identifier_pointers = (pointer * capacity)(
            *(ctypes.cast(start + i * stride, pointer) for i in range(capacity))
        )
        self.native: Any = binding.llama_batch(
            n_tokens=0,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=self._counts,
            seq_id=self._identifier_pointers,
            logits=self._wanted,
        )

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.capacity - self.size

    @property
    def outputs(self) -> int:
        """Rows of logits asked for so far."""
        return len(self._output_positions)

    def output_position(self, output: int) -> int:
        """The place in the batch of the `output`-th token that asked for logits."""
        return self._output_positions[output]

    def clear(self) -> None:
        """Make it empty."""
        self.size = self.native.n_tokens = 0
        self._output_positions.clear()

    def add(self, identifier: int, position: int, tokens: Sequence[int], outputs: int) -> None:
        """Append `tokens` of sequence `identifier` from `position` on.

        Args:
            outputs: how many of the last tokens need logits.
        """
        start, end = self.size, self.size + len(tokens)
        self._tokens[start:end] = tokens
        self._positions[start:end] = range(position, position + len(tokens))
        self._identifiers[start:end] = [identifier] * len(tokens)
        wanted = range(end - outputs, end)
        self._wanted[start:end] = [int(i in wanted) for i in range(start, end)]
        self._output_positions.extend(wanted)
        self.size = self.native.n_tokens = end
