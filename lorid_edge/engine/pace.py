"""How fast a file of weights decodes many samples at once on this machine."""

from __future__ import annotations

import time
from pathlib import Path

from lorid_edge.engine import native
from lorid_edge.engine.lane import Lane, LaneSettings
from lorid_edge.engine.model import Model
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import GenerationRequest

_DECODES = 8


def decode_tokens_per_second(
    path: Path, samples: int, threads: int, *, use_extra_buffers: bool = True
) -> float:
    """The best of a few decodes of `samples` samples, in tokens per second; takes some seconds.

    The best, since whatever else the machine does meanwhile only makes it slower.

    Raises EngineError if llama.cpp cannot load the file or has no memory for it.
    """
    model = Model(path, use_extra_buffers=use_extra_buffers)
    lane = None
    try:
        settings = LaneSettings(cells=64 * samples, sequences=2 * samples, threads=threads)
        lane = Lane(model, settings, native.AbortFlag())
        prompt = tuple(model.tokenize("One, two, three,", special=False))
        for number in range(samples):
            # Never a token that ends a sample is likely here, and one that does is no harm.
            sampling = SamplingSettings(temperature=0.7)
            request = GenerationRequest(prompt, 32, seed=number, sampling=sampling)
            lane.submit(number, request)
        lane.step()
        best = 0.0
        for _ in range(_DECODES):
            began = time.perf_counter()
            best = max(best, len(lane.step()) / (time.perf_counter() - began))
        return best
    finally:
        if lane is not None:
            lane.close()
        model.close()
