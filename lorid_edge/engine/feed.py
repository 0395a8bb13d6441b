"""What one decode carries: a slice of a prompt, or the next tokens of running samples.

Where each sequence has a cache of its own, llama.cpp computes together what they have in equal
numbers. So a prompt is read by itself, and many samples are fed one token each, results of the
calculator too, which then cost no decode of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lorid_edge.engine.batch import Batch
from lorid_edge.engine.held_prompts import HeldPrompt
from lorid_edge.engine.sequence import Sequence

MOST_ROWS = 64
"""Most rows of logits that one decode is asked for, 152,000 floats each with the larger packs."""


@dataclass(frozen=True)
class FedSample:
    """A sample in a batch.

    Attributes:
        tokens: how many of its pending tokens were added.
        rows: its rows of logits.
    """

    ticket: int
    sequence: Sequence
    tokens: int
    rows: range


def feed_samples(batch: Batch, running: Mapping[int, Sequence], one_each: bool) -> list[FedSample]:
    """Add what samples want fed to an empty batch.

    Those that read a prompt of their own go first, by themselves.

    Args:
        running: samples by ticket. Those for which there is no room are left out, and come again.
        one_each: feed one token of each, unless a sample is alone; else all that they want fed.
    """
    samples = sorted(running.items(), key=lambda item: item[1].identifier)
    reading = [item for item in samples if item[1].is_reading]
    chosen = reading or samples[:MOST_ROWS]
    most = 1 if one_each and len(chosen) > 1 and not reading else batch.capacity
    fed = []
    for ticket, sequence in chosen:
        if batch.room and batch.outputs < MOST_ROWS:
            fed.append(_feed(batch, ticket, sequence, most))
    return fed


def feed_prompt(batch: Batch, held: HeldPrompt) -> int:
    """Add the next slice of a prompt, as much as there is room for; returns its tokens."""
    assert held.identifier is not None
    part = held.tokens[held.evaluated : held.evaluated + batch.room]
    batch.add(held.identifier, held.evaluated, part, 0)
    return len(part)


def _feed(batch: Batch, ticket: int, sequence: Sequence, most: int) -> FedSample:
    """Add what fits of a sample's pending tokens, `most` at most."""
    part = sequence.pending[: min(most, batch.room)]
    left = len(sequence.pending) - len(part)
    wanted = min(len(part), max(0, sequence.wanted_logits() - left))
    first_row = batch.outputs
    batch.add(sequence.identifier, sequence.position, part, wanted)
    return FedSample(ticket, sequence, len(part), range(first_row, first_row + wanted))
