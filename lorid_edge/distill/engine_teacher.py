"""A teacher on this machine: a GGUF model on our engine, its JSON held by a grammar."""

from __future__ import annotations

from pathlib import Path

from lorid_edge.convert.unpacked import choose_weights, weight_types
from lorid_edge.distill.knowledge import GRAMMAR, KNOWLEDGE_MAX_TOKENS, SYSTEM, TEMPLATE
from lorid_edge.distill.teacher import TOO_LONG, Ask, Reply
from lorid_edge.engine import shared_models
from lorid_edge.engine.engine import Engine, EngineSettings
from lorid_edge.engine.lane import LaneSettings
from lorid_edge.engine.memory import available_bytes, needed_bytes
from lorid_edge.engine.model import BARE
from lorid_edge.engine.probe import probe
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import GenerationRequest
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import ContextOverflowError, MemoryShortageError, UsageError
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import GgufFile
from lorid_edge.loading import SEQUENCES_MAX, kv_bytes_per_token
from lorid_edge.loop.prompts import PromptTemplate, estimate_fixed_tokens
from lorid_edge.packs.places import Places

ASK_TOKENS = 1024
"""Room for one request: a problem and its solution, and the reply."""


class EngineTeacher:
    """See `Teacher`."""

    def __init__(
        self, base: Path, base_sha256: str, *, capacity: int = 16, threads: int | None = None
    ) -> None:
        """Load the model and evaluate the examples of the prompt.

        Raises:
            UsageError: `capacity` is more than llama.cpp has sequences for.
            ModelFileError: a damaged file.
            MemoryShortageError: too little memory is free.
            EngineError: llama.cpp cannot load it.
        """
        if capacity > SEQUENCES_MAX:
            raise UsageError(
                f"concurrency is {capacity}; our engine works on at most {SEQUENCES_MAX} "
                "problems at once."
            )
        self.name = base.name
        self.capacity = capacity
        file = check_base(base)
        places = Places.default()
        weights = choose_weights(base, base_sha256, capacity, places, threads=threads)
        path, identity = weights.file or base, weights.identity(base_sha256)
        lane = _lane_settings(estimate_fixed_tokens(SYSTEM, TEMPLATE), capacity, threads)
        _require_memory(file, path, identity, lane)
        extra_buffers = probe(path, weight_types(path), places.state).use_extra_buffers
        self._model = shared_models.borrow(path, identity, use_extra_buffers=extra_buffers)
        self._engine: Engine | None = None
        try:
            self._template = PromptTemplate(self._model, SYSTEM, TEMPLATE)
            fixed = self._template.fixed
            lane = _lane_settings(len(fixed), capacity, threads)
            self._engine = Engine(self._model, EngineSettings(lane))
            self._engine.prepare(BARE, [fixed])
        except BaseException:
            self.close()
            raise
        self._asks: dict[int, tuple[Ask, int]] = {}
        self._overlong: list[Reply] = []

    def submit(self, ask: Ask) -> None:
        """Begin with a request; one that cannot fit the context is refused."""
        tokens = self._template.build(ask.question, ask.rationale).tokens
        request = GenerationRequest(
            prompt=tokens,
            hold_tokens=len(self._template.fixed),
            max_tokens=KNOWLEDGE_MAX_TOKENS,
            seed=ask.seed,
            sampling=SamplingSettings(temperature=ask.temperature),
            grammar=GRAMMAR,
        )
        own_tokens = len(tokens) - len(self._template.fixed)
        assert self._engine is not None
        try:
            self._asks[self._engine.submit(request)] = ask, own_tokens
        except ContextOverflowError:
            self._overlong.append(Reply(ask.key, "", 0, 0, refusal=TOO_LONG))

    def next_replies(self) -> list[Reply]:
        """Decode until a reply is complete.

        Raises:
            EngineError: llama.cpp failed.
            CancelledError: `abort` was called.
        """
        assert self._engine is not None
        replies, self._overlong = self._overlong, []
        while not replies and self._asks:
            for progress in self._engine.step():
                if progress.sequence.finish is None:
                    continue
                ask, prompt_tokens = self._asks.pop(progress.ticket)
                sequence = progress.sequence
                replies.append(Reply(ask.key, sequence.text, prompt_tokens, len(sequence.tokens)))
        return replies

    def abort(self) -> None:
        """From any thread: stop the decode that runs."""
        if self._engine is not None:
            self._engine.abort()

    def close(self) -> None:
        """Free the context; the weights stay as long as somebody else uses them."""
        if self._engine is not None:
            self._engine.close()
        shared_models.give_back(self._model)


def _lane_settings(fixed_tokens: int, capacity: int, threads: int | None) -> LaneSettings:
    return LaneSettings(
        sequence_tokens=fixed_tokens + ASK_TOKENS,
        sequences=capacity,
        threads=choose_threads(threads).threads,
    )


def _require_memory(base: GgufFile, weights: Path, identity: str, lane: LaneSettings) -> None:
    base_bytes = 0 if shared_models.is_loaded(identity) else weights.stat().st_size
    needed = needed_bytes(base_bytes, lane.cells * kv_bytes_per_token(base))
    free = available_bytes()
    if free < needed:
        raise MemoryShortageError(
            f"{base.path.name} as teacher of {lane.sequences} problems at once needs about "
            f"{needed / 1e6:,.0f} MB of memory and {free / 1e6:,.0f} MB are free. Close other "
            "programs, or use a smaller --concurrency or a smaller pack."
        )
