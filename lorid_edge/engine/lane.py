"""A lane: one llama.cpp context and the samples that are decoded together in it.

A lane decodes under one adapter at a time, because one decode applies the context's adapters to
all its sequences. Its KV therefore belongs to that adapter and scale alone: switching clears it.

Every step is one llama_decode. It carries the next token of each running sample, forced results
whole, and, while a prompt is still to be evaluated, a slice of that prompt, alone if both together
are many. A prompt that several samples share is evaluated once, in a sequence of its own (a held
prompt), and copied: the copy shares cells and costs microseconds. The last prompt token is fed by
each sample itself, so that each gets logits of its own.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorid_edge.engine import native
from lorid_edge.engine.batch import Batch
from lorid_edge.engine.model import BARE, AdapterKey, Model
from lorid_edge.engine.prompt_store import PromptStore
from lorid_edge.engine.sampling import LogitsRow
from lorid_edge.engine.sequence import Finish, GenerationRequest, Sequence
from lorid_edge.errors import CancelledError, ContextOverflowError, EngineError

BATCH_TOKENS = 512
"""Most tokens of one decode; a longer prompt takes several, with a chance to stop between."""

SKIPPING_TOKENS = 63
"""Most tokens of one decode for which llama.cpp's attention passes over the cells of other samples.

From 64 on it computes all cells and masks them after: 64 samples of 200 tokens took 974 ms a step
on small, 63 some 180 (docs/experiments.md). Also bounds the rows of logits, 152,000 floats each.
"""

RIDING_TOKENS = 8
"""Most tokens of samples that go along in the decode of a prompt, which saves reading the weights.

32 of them beside a prompt of 126 tokens took 875 ms together and 474 ms one after the other."""

_FIXED = -1


@dataclass(frozen=True)
class LaneSettings:
    """The size of a lane.

    Attributes:
        cells: tokens of KV cache, shared by all sequences.
        sequences: most sequences at once, held prompts included (at most 256).
        threads: for generating and for prompts.
        keeps_fixed_states: remember evaluated fixed prompts in memory across switches.
    """

    cells: int
    sequences: int
    threads: int
    keeps_fixed_states: bool = False


@dataclass
class HeldPrompt:
    """Evaluated tokens kept for later requests; `group` -1 stays as long as the adapter does."""

    identifier: int
    tokens: tuple[int, ...]
    group: int
    own_cells: int
    evaluated: int = 0

    @property
    def is_ready(self) -> bool:
        return self.evaluated == len(self.tokens)


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
class _Fed:
    """A sample in a batch: how many of its tokens, and its rows of logits."""

    ticket: int
    sequence: Sequence
    tokens: int
    rows: range


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
        self._binding = binding = native.load()
        self._model = model
        self._abort = abort
        self.settings = settings
        with model.occupancy.use():
            self._context: Any = binding.llama_init_from_model(model.handle, self._parameters())
        if not self._context:
            raise EngineError(
                f"llama.cpp cannot make a context of {settings.cells} tokens for {model.path.name}"
                "; memory is the usual reason. Use a smaller --width or a smaller pack."
            )
        abort.attach(self._context)
        self._memory: Any = binding.llama_get_memory(self._context)
        self._batch = Batch(BATCH_TOKENS)
        self.key = BARE
        self._free_identifiers = list(range(settings.sequences))[::-1]
        self._held: list[HeldPrompt] = []
        self._running: dict[int, Sequence] = {}
        self._waiting: deque[_Waiting] = deque()
        self._store = store
        self._keeps_fixed_states = settings.keeps_fixed_states
        self._fixed_states: dict[tuple[AdapterKey, tuple[int, ...]], bytes] = {}
        self._tokens: dict[int, LaneTokens] = {}

    def _parameters(self) -> Any:
        parameters = self._binding.llama_context_default_params()
        parameters.n_ctx = self.settings.cells
        parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
        parameters.n_seq_max = self.settings.sequences
        # llama.cpp aborts if this is less than the number of sequences.
        outputs = max(SKIPPING_TOKENS + RIDING_TOKENS, self.settings.sequences)
        parameters.n_outputs_max = parameters.n_outputs_max_per_seq = outputs
        parameters.n_threads = parameters.n_threads_batch = self.settings.threads
        parameters.kv_unified = True  # else cells are split per sequence and cannot be shared
        parameters.no_perf = True
        return parameters

    # --- requests ---------------------------------------------------------------------------

    def submit(self, ticket: int, request: GenerationRequest) -> None:
        """Queue a request; it starts as soon as there is room.

        Raises:
            ContextOverflowError: it could never fit.
            EngineError: it was made for another adapter than the lane decodes with.
        """
        if request.key != self.key:
            raise EngineError(f"A request for {request.key} came to a lane that holds {self.key}.")
        fixed = [held for held in self._held if held.group == _FIXED]
        own_tokens = len(request.prompt) - _longest_shared(request.prompt, fixed)
        needed = own_tokens + request.max_tokens
        if needed > self.settings.cells - self._fixed_cells():
            raise ContextOverflowError(
                f"A prompt of {len(request.prompt)} tokens with up to {request.max_tokens} tokens "
                f"of answer does not fit the context of {self.settings.cells} tokens."
            )
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
        for held in [held for held in self._held if held.group == group]:
            self._drop(held)
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
        """Keep the fixed part of a role's prompt as long as the adapter; evaluate it if need be.

        Nothing is shared between fixed prompts, so that one that is restored lies in the same
        cells as one that is evaluated: samples then come out the same to the last bit.
        """
        if not tokens or any(h.group == _FIXED and h.tokens == tokens for h in self._held):
            return
        known = self._fixed_states.get((self.key, tokens))
        if known is None and self._store is not None:
            known = self._store.read(self.key, tokens)
        held = HeldPrompt(self._free_identifiers.pop(), tokens, _FIXED, len(tokens))
        self._held.append(held)
        if known is None or not self._restore(held, known):
            while not held.is_ready:
                self.step()
            known = self._state_of(held)
            if self._store is not None:
                self._store.write(self.key, tokens, known)
        if self._keeps_fixed_states:
            self._fixed_states[self.key, tokens] = known

    def switch(self, key: AdapterKey) -> None:
        """Decode with another adapter from now on. All samples must have ended.

        The KV is cleared, for it belongs to the adapter left. Fixed prompts are to be held again;
        their states are remembered by adapter and scale.
        """
        if key == self.key:
            return
        if self.has_work:
            raise EngineError("The adapter was to be switched while samples were running.")
        self.clear()
        self._model.apply_adapter(self._context, key)
        self.key = key

    def _state_of(self, held: HeldPrompt) -> bytes:
        """The KV of a held prompt, as llama.cpp writes it."""
        size = self._binding.llama_state_seq_get_size(self._context, held.identifier)
        buffer = (ctypes.c_uint8 * size)()
        self._binding.llama_state_seq_get_data(self._context, buffer, size, held.identifier)
        return bytes(buffer)

    def _restore(self, held: HeldPrompt, data: bytes) -> bool:
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        read_bytes = self._binding.llama_state_seq_set_data(
            self._context, buffer, len(data), held.identifier
        )
        if read_bytes == len(data):
            held.evaluated = len(held.tokens)
        return held.is_ready

    def clear(self) -> None:
        """Drop every sample and every held prompt."""
        self.reset()
        for held in list(self._held):
            self._drop(held)
        # Also moves the place where the search for free cells begins back to the start.
        self._binding.llama_memory_clear(self._memory, False)

    def reset(self) -> None:
        """Drop every sample and every prompt but the fixed ones, as after an aborted decode."""
        self._waiting.clear()
        for ticket in list(self._running):
            self._retire(ticket)
        for held in [h for h in self._held if h.group != _FIXED or not h.is_ready]:
            self._drop(held)
        self._tokens.clear()

    def close(self) -> None:
        """Free the context."""
        if self._context:
            self._waiting.clear()
            for ticket in list(self._running):
                self._retire(ticket)
            self._binding.llama_free(self._context)
            self._context = None

    # --- decoding ---------------------------------------------------------------------------

    def step(self) -> list[Progress]:
        """Admit what fits and decode once.

        Raises:
            CancelledError: the abort flag was set; the lane holds nothing but fixed prompts now.
            EngineError: llama.cpp failed.
        """
        self._admit()
        held = next((held for held in self._held if not held.is_ready), None)
        fed = self._feed_samples(held)
        slice_tokens = 0 if held is None else self._feed_prompt(held)
        if self._batch.size == 0:
            return self._nothing_fits() if self._waiting else []
        self._decode()
        if held is not None:
            held.evaluated += slice_tokens
            self._count(held.group).prompt += slice_tokens
        advanced = (self._advance(item) for item in fed)
        return [progress for progress in advanced if progress is not None]

    def _feed_samples(self, held: HeldPrompt | None) -> list[_Fed]:
        """Begin a batch with what the samples want fed; those that read a prompt go first."""
        batch, fed = self._batch, []
        batch.clear()
        samples = self._running.items()
        reading = [item for item in samples if item[1].is_reading]
        writing = [item for item in samples if not item[1].is_reading]
        for item in reading:
            if batch.room and batch.outputs < SKIPPING_TOKENS:
                fed.append(self._feed(*item))
        room = self._room_beside_prompts(held, len(writing))
        for ticket, sequence in writing:
            if batch.size + len(sequence.pending) <= room:
                fed.append(self._feed(ticket, sequence))
        return fed

    def _room_beside_prompts(self, held: HeldPrompt | None, samples: int) -> int:
        """How large the batch may become with the tokens of `samples` that are under way.

        Many wait while a prompt is read: beside it, attention would cost them more than a decode
        of their own.
        """
        prompts = self._batch.size + (0 if held is None else len(held.tokens) - held.evaluated)
        if prompts + samples <= SKIPPING_TOKENS or not prompts:
            return SKIPPING_TOKENS
        riding = RIDING_TOKENS if samples <= RIDING_TOKENS else 0
        return min(self._batch.size + riding, self._batch.capacity)

    def _feed(self, ticket: int, sequence: Sequence) -> _Fed:
        """Add what fits of a sample's pending tokens."""
        batch = self._batch
        part = sequence.pending[: batch.room]
        wanted = sequence.wanted_logits() if len(part) == len(sequence.pending) else 0
        first_row = batch.outputs
        batch.add(sequence.identifier, sequence.position, part, wanted)
        return _Fed(ticket, sequence, len(part), range(first_row, first_row + wanted))

    def _feed_prompt(self, held: HeldPrompt) -> int:
        """Add the next slice of a prompt; returns its tokens."""
        part = held.tokens[held.evaluated : held.evaluated + self._batch.room]
        self._batch.add(held.identifier, held.evaluated, part, 0)
        return len(part)

    def _nothing_fits(self) -> list[Progress]:
        request = self._waiting[0].request
        self.reset()
        raise EngineError(
            f"A request of {_own_cells(request)} tokens cannot start: prompts held for other "
            f"problems fill the context of {self.settings.cells} tokens. Solve fewer at once."
        )

    def _decode(self) -> None:
        with self._model.occupancy.use():
            status = self._binding.llama_decode(self._context, self._batch.native)
        if status == 0:
            return
        aborted = status == 2 and self._abort.is_set()
        self.reset()
        if aborted:
            raise CancelledError("Cancelled.")
        reason = {1: "no room in the KV cache", 2: "aborted"}.get(status, "internal error")
        raise EngineError(
            f"llama_decode failed with status {status} ({reason}) on {self._batch.size} tokens. "
            "Run 'lorid-edge doctor'; with LORID_EDGE_DEBUG=1 the log says more."
        )

    def _advance(self, fed: _Fed) -> Progress | None:
        """Hand the logits to a sample; None while its prompt is not read to the end."""
        sequence = fed.sequence
        sequence.position += fed.tokens
        if not fed.rows:
            sequence.pending = sequence.pending[fed.tokens :]
            return None
        text = sequence.receive([self._logits(row) for row in fed.rows])
        if sequence.finish is not None:
            self._retire(fed.ticket)
        return Progress(fed.ticket, sequence, text)

    def _logits(self, output: int) -> LogitsRow:
        """Logits of the `output`-th token that asked for them; valid until the next decode."""
        position = self._batch.output_position(output)
        pointer = self._binding.llama_get_logits_ith(self._context, position)
        return np.ctypeslib.as_array(pointer, (self._model.vocabulary_size,))

    # --- room and prompts -------------------------------------------------------------------

    def _admit(self) -> None:
        """Start waiting requests, in order, as long as their prompt is ready and cells are free."""
        while self._waiting and self._free_identifiers:
            item = self._waiting[0]
            request = item.request
            shared = request.prompt[: request.hold_tokens]
            held = self._find_held(shared, request.group)
            if held is None:
                ready = [other for other in self._held if other.is_ready]
                new_tokens = len(shared) - _longest_shared(shared, ready)
                if not self._make_room(new_tokens + _own_cells(request)):
                    return
                held = self._hold(shared, request.group)
            if not held.is_ready or not self._make_room(_own_cells(request)):
                return
            self._waiting.popleft()
            self._start(item, held)

    def _start(self, item: _Waiting, held: HeldPrompt) -> None:
        request = item.request
        sequence = Sequence(self._free_identifiers.pop(), request, self._model)
        self._copy_cells(held.identifier, sequence.identifier, len(held.tokens))
        sequence.position = len(held.tokens)
        sequence.pending = list(request.prompt[len(held.tokens) :])
        self._running[item.ticket] = sequence
        count = self._count(request.group)
        count.cached += len(held.tokens)
        count.prompt += len(sequence.pending)

    def _find_held(self, tokens: tuple[int, ...], group: int) -> HeldPrompt | None:
        return next(
            (h for h in self._held if h.tokens == tokens and h.group in (group, _FIXED)), None
        )

    def _hold(self, tokens: tuple[int, ...], group: int) -> HeldPrompt:
        """Begin a held prompt, with as much copied from the others as they share with it."""
        held = HeldPrompt(self._free_identifiers.pop(), tokens, group, len(tokens))
        ready = [other for other in self._held if other.is_ready]
        if ready and tokens:
            best = max(ready, key=lambda other: _shared_prefix(other.tokens, tokens))
            held.evaluated = _shared_prefix(best.tokens, tokens)
            held.own_cells -= held.evaluated
            self._copy_cells(best.identifier, held.identifier, held.evaluated)
            self._count(group).cached += held.evaluated
        self._held.append(held)
        return held

    def _copy_cells(self, source: int, target: int, tokens: int) -> None:
        if tokens:
            self._binding.llama_memory_seq_cp(self._memory, source, target, 0, tokens)

    def _make_room(self, cells: int) -> bool:
        used = sum(held.own_cells for held in self._held)
        used += sum(_own_cells(sequence.request) for sequence in self._running.values())
        return used + cells <= self.settings.cells

    def _fixed_cells(self) -> int:
        return sum(held.own_cells for held in self._held if held.group == _FIXED)

    def _retire(self, ticket: int) -> None:
        sequence = self._running.pop(ticket)
        sequence.close()
        self._forget(sequence.identifier)

    def _drop(self, held: HeldPrompt) -> None:
        self._held.remove(held)
        self._forget(held.identifier)

    def _forget(self, identifier: int) -> None:
        self._binding.llama_memory_seq_rm(self._memory, identifier, -1, -1)
        self._free_identifiers.append(identifier)

    def _count(self, group: int) -> LaneTokens:
        return self._tokens.setdefault(group, LaneTokens())


def _own_cells(request: GenerationRequest) -> int:
    """Cells that only this request's sequence uses, at most."""
    return len(request.prompt) - request.hold_tokens + request.max_tokens


def _longest_shared(tokens: tuple[int, ...], prompts: Iterable[HeldPrompt]) -> int:
    """How many leading tokens lie in the cells of one of these prompts already."""
    return max((_shared_prefix(held.tokens, tokens) for held in prompts), default=0)


def _shared_prefix(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """Number of leading tokens that both have."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
