"""How fast a file of weights reads prompts and decodes many samples at once on this machine."""

from __future__ import annotations

import math
import time
from pathlib import Path

from lorid_edge.engine import native
from lorid_edge.engine.lane import Lane, LaneSettings
from lorid_edge.engine.model import Model
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import GenerationRequest

_DECODES = 8
_PROMPT_TOKENS = 32


def tokens_per_second(
    path: Path, samples: int, threads: int, *, use_extra_buffers: bool = True
) -> float:
    """Tokens per second where `samples` samples write as many tokens as their prompts have.

    That is about what a problem asks for (docs/experiments.md). Of the decodes the best counts,
    since whatever else the machine does meanwhile only makes them slower. Takes some seconds.

    Raises EngineError if llama.cpp cannot load the file or has no memory for it.
    """
    model = Model(path, use_extra_buffers=use_extra_buffers)
    lane = None
    try:
        settings = LaneSettings(sequence_tokens=128, sequences=samples, threads=threads)
        lane = Lane(model, settings, native.AbortFlag())
        words = model.tokenize("One, two, three, " * _PROMPT_TOKENS, special=False)
        prompt = tuple(words[:_PROMPT_TOKENS])
        for number in range(samples):
            # Never a token that ends a sample is likely here, and one that does is no harm.
            sampling = SamplingSettings(temperature=0.7)
            request = GenerationRequest(prompt, 64, seed=number, sampling=sampling)
            lane.submit(number, request)
        prompt_seconds = _seconds_until_all_write(lane, samples) / (samples * _PROMPT_TOKENS)
        decode_seconds = min(_seconds_a_token(lane) for _ in range(_DECODES))
        return 2 / (prompt_seconds + decode_seconds)
    finally:
        if lane is not None:
            lane.close()
        model.close()


def _seconds_until_all_write(lane: Lane, samples: int) -> float:
    began = time.perf_counter()
    silent = set(range(samples))
    while silent:
        silent -= {progress.ticket for progress in lane.step()}
    return time.perf_counter() - began


def _seconds_a_token(lane: Lane) -> float:
    began = time.perf_counter()
    written = len(lane.step())
    return (time.perf_counter() - began) / written if written else math.inf
