"""How fast an engine reads prompts and writes: the plain measurements, for any caller."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np

from lorid_edge.engine.engine import Engine
from lorid_edge.engine.model import BARE, AdapterKey
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import GenerationRequest

PROMPT = "Count in words and numbers, one a line, without an end: 1 one, 2 two, 3 three, 4 four,"
"""What is gone on with: it hardly ends by itself and holds no arithmetic to be forced."""

PREFILL_TOKENS = 64
"""Tokens of each prompt that is read: about those of a word problem."""


def writing_tokens_per_second(
    engine: Engine,
    prompt: tuple[int, ...],
    sequences: int,
    steps: int,
    *,
    key: AdapterKey = BARE,
    sampling: SamplingSettings | None = None,
    calculator: bool = False,
) -> float:
    """Tokens a second of `sequences` samples on one prompt, sampling and text included.

    Each of `steps` decodes carries all sequences: one that ends is replaced at once by another,
    which goes on from the prompt. Reading the prompt is left out. The engine has no other work.
    """
    request = GenerationRequest(
        prompt,
        steps + 2,
        seed=0,
        hold_tokens=len(prompt) - 1,
        key=key,
        sampling=sampling or SamplingSettings(),
        calculator=calculator,
    )
    seeds = itertools.count()
    for _ in range(sequences):
        engine.submit(replace(request, seed=next(seeds)))
    while not (progress := engine.step()):
        pass  # the prompt is read; then all sequences get their first token in one step
    began, tokens = time.perf_counter(), 0
    for _ in range(steps):
        for item in progress:
            if item.sequence.finish is not None:
                engine.submit(replace(request, seed=next(seeds)))
        progress = engine.step()
        tokens += len(progress)
    seconds = time.perf_counter() - began
    engine.reset()
    engine.release(0)
    return tokens / seconds


def reading_tokens_per_second(
    engine: Engine, vocabulary_size: int, sequences: int, seed: int, *, key: AdapterKey = BARE
) -> float:
    """Prompt tokens a second of `sequences` different prompts, up to the first token of each.

    The prompts are `PREFILL_TOKENS` random tokens each, the same for the same seed. The engine has
    no other work.
    """
    random = np.random.default_rng([seed, sequences])
    prompts = random.integers(0, vocabulary_size, (sequences, PREFILL_TOKENS))
    began = time.perf_counter()
    for number, prompt in enumerate(prompts.tolist()):
        engine.submit(
            GenerationRequest(tuple(prompt), 1, number, hold_tokens=len(prompt) - 1, key=key)
        )
    while engine.has_work:
        engine.step()
    seconds = time.perf_counter() - began
    engine.release(0)
    return prompts.size / seconds
