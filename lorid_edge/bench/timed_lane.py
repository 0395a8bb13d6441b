"""A lane that tells how long decoding took, and how long drawing the tokens did."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lorid_edge.engine.lane import Lane, LaneSettings
from lorid_edge.engine.model import Model
from lorid_edge.engine.native import AbortFlag
from lorid_edge.engine.sampling import Sampler, SamplingSettings
from lorid_edge.engine.sequence import GenerationRequest


@dataclass(frozen=True)
class StepCost:
    """Mean seconds of a step: its llama_decode, and the draws of all its sequences."""

    decode_seconds: float
    sampling_seconds: float


class TimedLane(Lane):
    """Times `llama_decode` and, on the very logits that come of it, `Sampler.sample`.

    The timed draw comes before the sequence's own, from a sampler beside it: it is the one that
    finds the logits outside the processor's nearest caches.
    """

    def __init__(self, model: Model, settings: LaneSettings, sampling: SamplingSettings) -> None:
        super().__init__(model, settings, AbortFlag())
        self._sampling = sampling
        self._samplers: list[Sampler] = []
        self._decode_seconds = self._sampling_seconds = 0.0

    def measure(self, prompt: tuple[int, ...], sequences: int, steps: int) -> StepCost:
        """Decode `sequences` samples on one prompt; one that ends is replaced by another."""
        self._samplers = [Sampler(self._sampling, seed) for seed in range(sequences)]
        for ticket in range(sequences):
            self._submit(ticket, prompt, steps)
        while not (progress := self.step()):
            pass  # the prompt is read
        self._decode_seconds = self._sampling_seconds = 0.0
        for _ in range(steps):
            for item in progress:
                if item.sequence.finish is not None:
                    self._submit(item.ticket + sequences, prompt, steps)
            progress = self.step()
        return StepCost(self._decode_seconds / steps, self._sampling_seconds / steps)

    def _submit(self, ticket: int, prompt: tuple[int, ...], steps: int) -> None:
        request = GenerationRequest(
            prompt, steps + 2, ticket, hold_tokens=len(prompt) - 1, sampling=self._sampling
        )
        self.submit(ticket, request)

    def close(self) -> None:
        for sampler in self._samplers:
            sampler.close()
        self._samplers.clear()
        super().close()

    def _decode(self) -> None:
        began = time.perf_counter()
        super()._decode()
        self._decode_seconds += time.perf_counter() - began
        for output in range(self._batch.outputs):
            logits = self._context.logits(self._batch, output)
            began = time.perf_counter()
            self._samplers[output % len(self._samplers)].sample(logits)
            self._sampling_seconds += time.perf_counter() - began
