"""The engine: many samples under several adapters, on one model, one decode at a time.

With room for it, each adapter has a lane (a context) of its own, all on the same weights, and the
lanes take turns; roles without an adapter share one lane and are decoded together. In low-memory
mode there is a single lane that switches adapters when it has drained.

Steps are taken by the caller's thread, in an order that depends on nothing but the requests: the
same requests give the same tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from lorid_edge.engine.lane import Lane, LaneSettings, LaneTokens, Progress, check_length
from lorid_edge.engine.model import AdapterKey, Model
from lorid_edge.engine.native import AbortFlag
from lorid_edge.engine.prompt_store import PromptStore
from lorid_edge.engine.sequence import GenerationRequest, Sequence
from lorid_edge.errors import CancelledError


@dataclass(frozen=True)
class EngineSettings:
    """The size of an engine.

    Attributes:
        lane: the size of each lane.
        low_memory: one context for all adapters instead of one for each.
        fullest_first: decode where most samples are, instead of in turn: more tokens a second, as
            each reading of the weights serves more of them, but a single problem waits longer.
    """

    lane: LaneSettings
    low_memory: bool = False
    fullest_first: bool = False


class Engine:
    """Decodes requests in batches. Not thread-safe, but for `abort`."""

    def __init__(
        self, model: Model, settings: EngineSettings, store: PromptStore | None = None
    ) -> None:
        """Args:
        store: where evaluated fixed prompts are kept between processes; None for nowhere.
        """
        self.model = model
        self._store = store
        self.settings = settings
        self._abort = AbortFlag()
        self._lanes: list[Lane] = []
        self._fixed: dict[AdapterKey, list[tuple[int, ...]]] = {}
        self._backlog: deque[tuple[int, GenerationRequest]] = deque()
        self._next_ticket = 0
        self._turn = 0
        self.reading: int | None = None
        """The ticket that the prompt read in the last step was read for."""

    def prepare(self, key: AdapterKey, fixed_prompts: Iterable[tuple[int, ...]]) -> None:
        """Make the lane for `key` and evaluate the fixed parts of its prompts, once.

        To be called for every key before the first request, always in the same order.
        """
        prompts = self._fixed.setdefault(key, [])
        prompts.extend(prompt for prompt in fixed_prompts if prompt not in prompts)
        lane = self._lane_for(key)
        for prompt in prompts:
            lane.hold_fixed(prompt)

    def submit(self, request: GenerationRequest) -> int:
        """Queue a request; returns its ticket.

        Raises:
            ContextOverflowError: it could never fit.
        """
        if not self.has_work:
            self._turn = 0  # the order of steps must not depend on the requests before
        ticket = self._next_ticket
        self._next_ticket += 1
        lane = self._lane_holding(request.key)
        if lane is None:
            check_length(request, self.settings.lane.sequence_tokens)
            self._backlog.append((ticket, request))
        else:
            lane.submit(ticket, request)
        return ticket

    @property
    def has_work(self) -> bool:
        return bool(self._backlog) or any(lane.has_work for lane in self._lanes)

    def step(self) -> list[Progress]:
        """Decode once in the lane whose turn it is.

        Raises:
            CancelledError: `abort` was called; all requests are gone.
            EngineError: llama.cpp failed; all requests are gone.
        """
        if self._abort.is_set():
            self.reset()
            raise CancelledError("Cancelled.")
        try:
            self._switch_if_drained()
            busy = [lane for lane in self._lanes if lane.has_work]
            if not busy:
                return []
            self._turn += 1
            lane = self._next(busy)
            progress = lane.step()
            self.reading = lane.reading
            return progress
        except BaseException:
            self.reset()
            raise

    def _next(self, busy: list[Lane]) -> Lane:
        if self.settings.fullest_first:
            # None starves: whoever waits for the other lanes begins nothing new in this one.
            return max(busy, key=lambda lane: lane.samples)
        return busy[self._turn % len(busy)]

    def cancel(self, ticket: int) -> Sequence | None:
        """Stop a request; returns its sample if it had begun."""
        self._backlog = deque(item for item in self._backlog if item[0] != ticket)
        stopped = (lane.cancel(ticket) for lane in self._lanes)
        return next((sequence for sequence in stopped if sequence is not None), None)

    def release(self, group: int) -> LaneTokens:
        """Forget the prompts held for `group`; returns its prompt tokens evaluated and reused."""
        total = LaneTokens()
        for lane in self._lanes:
            tokens = lane.release(group)
            total.prompt += tokens.prompt
            total.cached += tokens.cached
        return total

    def abort(self) -> None:
        """From any thread: stop the decode that runs now, in a prompt too; `step` then raises."""
        self._abort.set()

    def reset(self) -> None:
        """Drop all requests and allow decoding again; the fixed parts of prompts stay."""
        self._abort.clear()
        self._backlog.clear()
        for lane in self._lanes:
            lane.reset()

    def close(self) -> None:
        """Free the contexts; the model stays."""
        for lane in self._lanes:
            lane.close()
        self._lanes.clear()

    def _lane_holding(self, key: AdapterKey) -> Lane | None:
        return next((lane for lane in self._lanes if lane.key == key), None)

    def _lane_for(self, key: AdapterKey) -> Lane:
        """A lane that decodes under `key`, made or switched."""
        lane = self._lane_holding(key)
        if lane is None and self.settings.low_memory and self._lanes:
            lane = self._lanes[0]
        if lane is None:
            lane = Lane(self.model, self.settings.lane, self._abort, self._store)
            self._lanes.append(lane)
        lane.switch(key)
        return lane

    def _switch_if_drained(self) -> None:
        """In low-memory mode: when nothing runs, go on with the adapter of the oldest request."""
        if not self._backlog or any(lane.has_work for lane in self._lanes):
            return
        key = self._backlog[0][1].key
        lane = self._lane_for(key)
        for prompt in self._fixed.get(key, []):
            lane.hold_fixed(prompt)
        ready = [item for item in self._backlog if item[1].key == key]
        self._backlog = deque(item for item in self._backlog if item[1].key != key)
        for ticket, request in ready:
            lane.submit(ticket, request)
