"""What one decode carries: the next tokens of running samples, and a slice of a prompt.

How much of both goes together follows from what llama.cpp's attention costs on a cache that many
samples share, as it was measured (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lorid_edge.engine.batch import Batch
from lorid_edge.engine.held_prompts import HeldPrompt
from lorid_edge.engine.sequence import Sequence

SKIPPING_TOKENS = 63
"""Most tokens of one decode for which llama.cpp's attention passes over the cells of other samples.

From 64 on it computes all cells and masks them after: 64 samples of 200 tokens took 974 ms a step
on small, 63 some 180 (docs/experiments.md).
"""

RIDING_TOKENS = 8
"""Most tokens of samples that go along in the decode of a prompt, which saves reading the weights.

32 of them beside a prompt of 126 tokens took 875 ms together and 474 ms one after the other."""

MOST_OUTPUTS = SKIPPING_TOKENS + RIDING_TOKENS
"""Most rows of logits that one decode is asked for, 152,000 floats each with the larger packs."""


@dataclass(frozen=True)
class FedSample:
    """A sample in a batch.

    Attributes:
        tokens: how many of its pending tokens were added.
        rows: its rows of logits; empty while its prompt is not read to the end.
    """

    ticket: int
    sequence: Sequence
    tokens: int
    rows: range


def feed_samples(
    batch: Batch, running: Mapping[int, Sequence], held: HeldPrompt | None
) -> list[FedSample]:
    """Add what samples want fed to an empty batch; those that read a prompt of their own go first.

    Args:
        running: samples by ticket. Those for which there is no room are left out, and come again.
        held: the prompt that is read in the same decode, if any (`feed_prompt`).
    """
    fed = []
    reading = [item for item in running.items() if item[1].is_reading]
    writing = [item for item in running.items() if not item[1].is_reading]
    for item in reading:
        if batch.room and batch.outputs < SKIPPING_TOKENS:
            fed.append(_feed(batch, *item))
    room = _room_beside_prompts(batch, held, len(writing))
    for ticket, sequence in writing:
        if batch.size + len(sequence.pending) <= room:
            fed.append(_feed(batch, ticket, sequence))
    return fed


def feed_prompt(batch: Batch, held: HeldPrompt) -> int:
    """Add the next slice of a prompt, as much as there is room for; returns its tokens."""
    part = held.tokens[held.evaluated : held.evaluated + batch.room]
    batch.add(held.identifier, held.evaluated, part, 0)
    return len(part)


def _room_beside_prompts(batch: Batch, held: HeldPrompt | None, samples: int) -> int:
    """How large the batch may become with the tokens of `samples` that are under way.

    Many wait while a prompt is read: beside it, attention would cost them more than a decode
    of their own.
    """
    prompts = batch.size + (0 if held is None else len(held.tokens) - held.evaluated)
    if prompts + samples <= SKIPPING_TOKENS or not prompts:
        return SKIPPING_TOKENS
    riding = RIDING_TOKENS if samples <= RIDING_TOKENS else 0
    return min(batch.size + riding, batch.capacity)


def _feed(batch: Batch, ticket: int, sequence: Sequence) -> FedSample:
    """Add what fits of a sample's pending tokens."""
    part = sequence.pending[: batch.room]
    wanted = sequence.wanted_logits() if len(part) == len(sequence.pending) else 0
    first_row = batch.outputs
    batch.add(sequence.identifier, sequence.position, part, wanted)
    return FedSample(ticket, sequence, len(part), range(first_row, first_row + wanted))
