"""A lane: one llama.cpp context and the samples that are decoded together in it.

A lane decodes under one adapter at a time, because one decode applies the context's adapters to
all its sequences. Its KV therefore belongs to that adapter and scale alone: switching clears it.

Every step is one llama_decode. It carries the next token of each running sample or, while a prompt
is still to be evaluated, a slice of that prompt (feed.py). A prompt that several samples share is
evaluated once (a held prompt) and copied into the cache of each, which takes milliseconds. The last
prompt token is fed by each sample itself, so that each gets logits of its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from lorid_edge.engine import native
from lorid_edge.engine.batch import Batch
from lorid_edge.engine.context import BATCH_TOKENS, Context, filled_cells
from lorid_edge.engine.feed import MOST_ROWS, FedSample, feed_prompt, feed_samples
from lorid_edge.engine.held_prompts import FIXED, HeldPrompt, HeldPrompts
from lorid_edge.engine.model import BARE, AdapterKey, Model
from lorid_edge.engine.prompt_store import PromptStore
from lorid_edge.engine.sequence import Finish, GenerationRequest, Sequence
from lorid_edge.errors import ContextOverflowError, EngineError


@dataclass(frozen=True)
class LaneSettings:
    """The size of a lane.

    Attributes:
        sequence_tokens: most tokens of a sample, with the whole of its prompt.
        sequences: most samples at once (at most 256).
        threads: for generating and for prompts.
    """

    sequence_tokens: int
    sequences: int
    threads: int

    @property
    def cells(self) -> int:
        """Tokens for which there is KV cache."""
        return self.sequences * filled_cells(self.sequence_tokens)


@dataclass
class Progress:
    """What one step did to one sample."""

    ticket: int
    sequence: Sequence
    text: str


@dataclass
class _Waiting:
    ticket: int
    request: GenerationRequest


@dataclass
class LaneTokens:
    """Tokens that passed through a lane since it was last asked."""

    prompt: int = 0
    cached: int = 0


class Lane:
    """A context and its samples. Not thread-safe, but for the abort flag."""

    def __init__(
        self,
        model: Model,
        settings: LaneSettings,
        abort: native.AbortFlag,
        store: PromptStore | None = None,
    ) -> None:
        self.settings = settings
        self._model = model
        self._context = Context(
            model,
            abort,
            sequence_tokens=settings.sequence_tokens,
            sequences=settings.sequences,
            outputs=MOST_ROWS,
            threads=settings.threads,
        )
        self._batch = Batch(BATCH_TOKENS)
        self.key = BARE
        self._held = HeldPrompts(self._context)
        self._running: dict[int, Sequence] = {}
        self._waiting: deque[_Waiting] = deque()
        self._store = store
        self._fixed_states: dict[tuple[AdapterKey, tuple[int, ...]], bytes] = {}
        self._tokens: dict[int, LaneTokens] = {}
        self.reading: int | None = None
        """The ticket that the prompt read in the last step was read for."""

    # --- requests ---------------------------------------------------------------------------

    def submit(self, ticket: int, request: GenerationRequest) -> None:
        """Queue a request; it starts as soon as there is room.

        Raises:
            ContextOverflowError: it could never fit.
            EngineError: it was made for another adapter than the lane decodes with.
        """
        if request.key != self.key:
            raise EngineError(f"A request for {request.key} came to a lane that holds {self.key}.")
        check_length(request, self.settings.sequence_tokens)
        self._waiting.append(_Waiting(ticket, request))

    def cancel(self, ticket: int) -> Sequence | None:
        """Drop a request or a running sample; returns the sample if it had begun."""
        self._waiting = deque(item for item in self._waiting if item.ticket != ticket)
        sequence = self._running.get(ticket)
        if sequence is not None:
            sequence.finish = Finish.CANCELLED
            self._retire(ticket)
        return sequence

    def release(self, group: int) -> LaneTokens:
        """Forget the prompts held for `group`; returns its prompt tokens evaluated and reused."""
        self._held.drop(lambda held: held.group == group)
        return self._tokens.pop(group, LaneTokens())

    @property
    def has_work(self) -> bool:
        return bool(self._running or self._waiting)

    @property
    def samples(self) -> int:
        """Requests that run or wait."""
        return len(self._running) + len(self._waiting)

    # --- the fixed part of prompts and the adapter ------------------------------------------

    def hold_fixed(self, tokens: tuple[int, ...]) -> None:
        """Keep the fixed part of a role's prompt as long as the adapter; evaluate it if need be."""
        if not tokens or self._held.find(tokens, FIXED):
            return
        known = self._fixed_states.get((self.key, tokens))
        if known is None and self._store is not None:
            known = self._store.read(self.key, tokens)
        held = self._held.hold_fixed(tokens, known)
        if not held.is_ready:
            while not held.is_ready:
                self.step()
            if self._store is not None and held.state is not None:
                self._store.write(self.key, tokens, held.state)
        assert held.state is not None
        self._fixed_states[self.key, tokens] = held.state

    def switch(self, key: AdapterKey) -> None:
        """Decode with another adapter from now on. All samples must have ended.

        The KV is cleared, for it belongs to the adapter left. Fixed prompts are to be held again;
        their states are remembered by adapter and scale.
        """
        if key == self.key:
            return
        if self.has_work:
            raise EngineError("The adapter was to be switched while samples were running.")
        self._held.drop(lambda held: True)
        self._context.clear()
        self._context.apply(key)
        self.key = key

    def reset(self) -> None:
        """Drop every sample and every prompt but the fixed ones, as after an aborted decode."""
        self._waiting.clear()
        for ticket in list(self._running):
            self._retire(ticket)
        self._held.drop(lambda held: held.group != FIXED or not held.is_ready)
        self._tokens.clear()

    def close(self) -> None:
        """Free the context."""
        self._waiting.clear()
        for ticket in list(self._running):
            self._retire(ticket)
        self._context.close()

    # --- decoding ---------------------------------------------------------------------------

    def step(self) -> list[Progress]:
        """Admit what fits and decode once.

        Raises:
            CancelledError: the abort flag was set; the lane holds nothing but fixed prompts now.
            EngineError: llama.cpp failed.
        """
        self._admit()
        held = self._held.first_unread()
        self._batch.clear()
        fed: list[FedSample] = []
        slice_tokens = 0
        if held is not None:
            slice_tokens = feed_prompt(self._batch, held)
        else:
            has_caches = self._context.has_caches
            if has_caches:
                self._close_gaps()
            fed = feed_samples(self._batch, self._running, one_each=has_caches)
        if self._batch.size == 0:
            return []
        self._decode()
        self.reading = self._waiting[0].ticket if held is not None and self._waiting else None
        if held is not None:
            self._held.advance(held, slice_tokens)
            self._count(held.group).prompt += slice_tokens
        advanced = (self._advance(item) for item in fed)
        return [progress for progress in advanced if progress is not None]

    def _decode(self) -> None:
        try:
            self._context.decode(self._batch)
        except BaseException:
            self.reset()  # after a decode that was left, the KV is good for nothing
            raise

    def _advance(self, fed: FedSample) -> Progress | None:
        """Hand the logits to a sample; None while more of its tokens are to be fed."""
        sequence = fed.sequence
        sequence.position += fed.tokens
        rows = [self._context.logits(self._batch, row) for row in fed.rows]
        if fed.tokens < len(sequence.pending):
            sequence.pending = sequence.pending[fed.tokens :]
            sequence.note(rows)
            return None
        text = sequence.receive(rows)
        if sequence.finish is not None:
            self._retire(fed.ticket)
        return Progress(fed.ticket, sequence, text)

    # --- room and prompts -------------------------------------------------------------------

    def _admit(self) -> None:
        """Start waiting requests, in order, as long as their prompt is ready and there is room."""
        while self._waiting and self._context.free_sequences:
            item = self._waiting[0]
            request = item.request
            shared = request.prompt[: request.hold_tokens]
            held = self._held.find(shared, request.group)
            if held is None:
                held = self._held.hold(shared, request.group)
                self._count(request.group).cached += held.evaluated
            if not held.is_ready:
                return
            self._waiting.popleft()
            self._start(item, held)

    def _start(self, item: _Waiting, held: HeldPrompt) -> None:
        request = item.request
        sequence = Sequence(self._context.take_sequence(), request, self._model)
        self._running[item.ticket] = sequence
        self._held.lend(held, sequence.identifier, len(held.tokens))
        sequence.position = len(held.tokens)
        sequence.pending = list(request.prompt[len(held.tokens) :])
        count = self._count(request.group)
        count.cached += len(held.tokens) if held.was_used else 0
        count.prompt += len(sequence.pending)
        held.was_used = True

    def _close_gaps(self) -> None:
        """Number the running samples without gaps, which their decode needs to be one."""
        samples = sorted(self._running.values(), key=lambda sequence: -sequence.identifier)
        for sequence in samples:
            if sequence.identifier < len(samples):
                return
            sequence.identifier = self._context.move(sequence.identifier)

    def _retire(self, ticket: int) -> None:
        sequence = self._running.pop(ticket)
        sequence.close()
        self._context.forget(sequence.identifier)

    def _count(self, group: int) -> LaneTokens:
        return self._tokens.setdefault(group, LaneTokens())


def check_length(request: GenerationRequest, sequence_tokens: int) -> None:
    """Refuse a request that is too long for a sequence of so many tokens.

    Raises:
        ContextOverflowError: it is.
    """
    if len(request.prompt) + request.limit_tokens > sequence_tokens:
        raise ContextOverflowError(
            f"A prompt of {len(request.prompt)} tokens with up to {request.limit_tokens} of "
            f"answer does not fit the context of {sequence_tokens} tokens."
        )
