"""Random token examples whose prompts share a beginning."""

from __future__ import annotations

import numpy as np

from lorid_edge.train.job import TokenExample


def random_examples(
    count: int, *, prefix_tokens: int = 7, vocabulary: int = 4096, seed: int = 0
) -> list[TokenExample]:
    """Prompts of up to 20 and completions of up to 16 tokens behind a common prefix."""
    chance = np.random.default_rng(seed)

    def tokens(amount: int) -> tuple[int, ...]:
        return tuple(int(token) for token in chance.integers(3, vocabulary, amount))

    prefix = tokens(prefix_tokens)
    return [
        TokenExample(prefix + tokens(chance.integers(1, 20)), tokens(chance.integers(1, 16)))
        for _ in range(count)
    ]
