"""Which examples form a step, and how they are laid out for one pass.

A pass takes its examples without padding, one behind the other. What all prompts of a job begin
with (the chat template, the system message, worked examples) stands once in front and is attended
to by every example: its share of the work is saved, and nothing else changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lorid_edge.train.job import TokenExample


@dataclass(frozen=True)
class Segment:
    """The part of a pass that belongs to one example, behind the common prefix.

    Attributes:
        start, stop: its rows in the pass.
        first_row: the first row whose next token is trained; so are all from there to `stop`.
    """

    start: int
    stop: int
    first_row: int


@dataclass(frozen=True)
class Pass:
    """Several examples for one forward and backward pass.

    Attributes:
        tokens: (rows,) int64: the common prefix, then each example without it and without its last
            token, which is a target alone.
        positions: (rows,) int64: of each token in its own example.
        prefix_tokens: rows of the common prefix.
        targets: (trained rows,) int64: the token that follows each trained row.
        example_tokens: what the examples hold, prompts and prefix included.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    prefix_tokens: int
    segments: tuple[Segment, ...]
    targets: torch.Tensor
    example_tokens: int

    @property
    def trained_rows(self) -> torch.Tensor:
        """(trained rows,) int64, in the order of `targets`."""
        return torch.cat([torch.arange(part.first_row, part.stop) for part in self.segments])


class ExampleOrder:
    """The order in which a job sees its examples: each epoch shuffled anew, known from the seed."""

    def __init__(self, examples: Sequence[TokenExample], epochs: float, batch: int, seed: int):
        self._examples = examples
        self._batch = batch
        self._seed = seed
        self.total = max(1, round(len(examples) * epochs))

    def __len__(self) -> int:
        """Examples of an epoch."""
        return len(self._examples)

    @property
    def mean_tokens(self) -> float:
        """Tokens of an example, on average."""
        return sum(map(_tokens, self._examples)) / len(self._examples)

    @property
    def steps(self) -> int:
        """Optimizer steps that show all epochs; the last may be a smaller one."""
        return -(-self.total // self._batch)

    def step(self, index: int) -> list[TokenExample]:
        """The examples of the step (from 0)."""
        positions = range(index * self._batch, min((index + 1) * self._batch, self.total))
        count = len(self._examples)
        orders = {
            epoch: np.random.default_rng([self._seed, epoch]).permutation(count)
            for epoch in {position // count for position in positions}
        }
        return [self._examples[orders[place // count][place % count]] for place in positions]


def common_prefix_tokens(examples: Sequence[TokenExample]) -> int:
    """How many tokens all prompts begin with; each keeps at least its last token for itself."""
    first, last = (pick(example.prompt for example in examples) for pick in (min, max))
    count = 0
    limit = min(len(example.prompt) for example in examples) - 1
    while count < limit and first[count] == last[count]:
        count += 1
    return count


def split_step(
    examples: Sequence[TokenExample],
    most_tokens: int,
    prefix_tokens: int,
    *,
    is_padded: bool = False,
) -> list[list[TokenExample]]:
    """The step's examples in groups of like length that fit one pass of `most_tokens` each.

    An example that alone is longer makes a group of its own. `is_padded`: each example of a pass
    takes as much as the longest one.
    """
    groups: list[list[TokenExample]] = []
    room = 0
    for example in sorted(examples, key=_tokens, reverse=True):
        longest = groups[-1][0] if groups and is_padded else example
        if not groups or _tokens(longest) - prefix_tokens > room:
            groups.append([])
            room = most_tokens - prefix_tokens
            longest = example
        groups[-1].append(example)
        room -= _tokens(longest) - prefix_tokens
    return groups


def lay_out(examples: Sequence[TokenExample], prefix_tokens: int) -> Pass:
    """One pass over the examples, whose prompts share their first `prefix_tokens`."""
    tokens = list(examples[0].prompt[:prefix_tokens])
    positions = list(range(prefix_tokens))
    targets: list[int] = []
    segments = []
    for example in examples:
        own = (example.prompt + example.completion)[prefix_tokens:-1]
        stop = len(tokens) + len(own)
        segments.append(Segment(len(tokens), stop, stop - len(example.completion)))
        tokens += own
        positions += range(prefix_tokens, prefix_tokens + len(own))
        targets += example.completion
    return Pass(
        torch.tensor(tokens),
        torch.tensor(positions),
        prefix_tokens,
        tuple(segments),
        torch.tensor(targets),
        sum(map(_tokens, examples)),
    )


def examples_sha256(examples: Sequence[TokenExample]) -> str:
    """A hash of all token ids and of where prompts end."""
    digest = hashlib.sha256()
    for part in _parts(examples):
        digest.update(len(part).to_bytes(4, "little"))
        digest.update(np.asarray(part, dtype="<i4").tobytes())
    return digest.hexdigest()


def _parts(examples: Sequence[TokenExample]) -> Iterator[tuple[int, ...]]:
    for example in examples:
        yield example.prompt
        yield example.completion


def _tokens(example: TokenExample) -> int:
    return len(example.prompt) + len(example.completion)
