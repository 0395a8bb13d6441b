"""The solver: a loaded pack that answers questions.

    with Solver.open("small") as solver:
        for event in solver.stream("What is 3/4 of 120?"):
            ...

It prints nothing, installs no signal handler and configures no logging.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lorid_edge.engine.engine import Engine
from lorid_edge.errors import LoridError, UsageError
from lorid_edge.loading import LoadedPack, LoadSettings, load_pack
from lorid_edge.loop.deliberation import Deliberation, Problem
from lorid_edge.loop.events import Event, Solved
from lorid_edge.loop.policies import make_policy
from lorid_edge.loop.solution import Solution
from lorid_edge.packs.store import PackStore
from lorid_edge.pump import Pump
from lorid_edge.stream import Stream
from lorid_edge.turns import Ticket, Turns

Item = TypeVar("Item")

DEFAULT_PACK = "standard"
DEFAULT_POLICY = "adaptive"


@dataclass(frozen=True)
class SolveSettings:
    """How one problem is solved.

    Attributes:
        policy: ir, dr, paper, vote or adaptive.
        max_rounds: None for the policy's own.
        seed: the same seed, pack, settings, build and machine give the same solution.
        max_seconds: the best answer so far when it runs out; None for no limit.
        calculator: force the results of arithmetic instead of sampling them.
    """

    policy: str = DEFAULT_POLICY
    max_rounds: int | None = None
    seed: int = 0
    max_seconds: float | None = None
    calculator: bool = True

    def __post_init__(self) -> None:
        make_policy(self.policy, 1, self.max_rounds)
        if self.max_seconds is not None and not 0 < self.max_seconds < math.inf:
            raise UsageError(
                f"max_seconds is {self.max_seconds}; it has to be more than 0 and finite."
            )


class Solver:
    """Solves problems with one pack. Make it with `open`, free it with `close`.

    Safe to use from several threads: one request runs at a time, the others wait in the order in
    which they came. Each is cancelled by its own stream; `cancel` cancels the one that runs.
    Solvers of one process whose packs have the same base share its weights.
    """

    def __init__(self, loaded: LoadedPack, width: int, in_flight: int) -> None:
        self._loaded: LoadedPack | None = loaded
        self._width = width
        self._in_flight = in_flight
        self._turns = Turns(loaded.workplace.engine.abort)
        self._lock = threading.Lock()
        self._streams: weakref.WeakSet[Stream[Any]] = weakref.WeakSet()

    @classmethod
    def open(
        cls,
        pack: str | Path = DEFAULT_PACK,
        *,
        settings: LoadSettings | None = None,
        store: PackStore | None = None,
    ) -> Solver:
        """Check and load a pack.

        Args:
            pack: a name or the path of a pack's folder.
            settings: see `LoadSettings`.
            store: where packs are kept; None for the user's own.

        Raises:
            PackError: unknown, not fetched yet, or damaged.
            ModelFileError, AdapterError: a file is not what it should be.
            MemoryShortageError: too little memory is free.
            EngineError: llama.cpp cannot load it.
        """
        settings = settings or LoadSettings()
        store = store or PackStore()
        verified = store.open(store.find(pack), ignore_base_hash=settings.ignore_base_hash)
        return cls(load_pack(verified, settings, store), settings.width, settings.in_flight)

    @property
    def loaded(self) -> LoadedPack:
        """The pack in memory."""
        if self._loaded is None:
            raise LoridError("The solver is closed; open another one.")
        return self._loaded

    @property
    def width(self) -> int:
        """Samples of a role at once."""
        return self._width

    def check(self, question: str) -> None:
        """Raise what `solve` would raise for `question` before it generates anything.

        Raises:
            UsageError: the question is empty.
            ContextOverflowError: it is too long for the context.
        """
        _check_question(question)
        policy = make_policy(DEFAULT_POLICY, self._width)
        Deliberation(
            self.loaded.workplace, Problem(question, seed=0, group=0), policy
        ).check_length()

    def solve(
        self, question: str, *, settings: SolveSettings | None = None, seed: int | None = None
    ) -> Solution:
        """Solve one problem and return its solution.

        Raises:
            UsageError: the question is empty.
            ContextOverflowError: it is too long for the context; nothing was generated.
            CancelledError: `cancel` was called.
        """
        for event in self.stream(question, settings=settings, seed=seed):
            if isinstance(event, Solved):
                return event.solution
        raise LoridError("The loop ended without a solution; this is a defect, please report it.")

    def stream(
        self, question: str, *, settings: SolveSettings | None = None, seed: int | None = None
    ) -> Stream[Event]:
        """Solve one problem and yield everything that happens; `Solved` comes last.

        The work is done in the thread that reads, between two events. A stream that is closed early
        stops its work; one that is cancelled, from any thread, raises CancelledError in the reader.
        Reading raises what `solve` raises.
        """
        settings = _with_seed(settings, seed)

        def work(ticket: Ticket) -> Generator[Event, None, None]:
            asked = [(question, settings.seed)]
            return (event for _, event in self._events(ticket, asked, settings))

        return self._register(work)

    def solve_many(
        self,
        questions: Iterable[str],
        *,
        settings: SolveSettings | None = None,
        seeds: Iterable[int] | None = None,
    ) -> Stream[tuple[int, Solution]]:
        """Solve many problems, `in_flight` of them at a time, and yield (index, solution).

        Solutions come as they are finished. Samples of all problems are decoded together, so
        floating-point noise may differ from solving one at a time.

        Args:
            seeds: one for each question; None to give each that of `settings`.
        """
        common = settings or SolveSettings()
        asked = list(questions)
        own = [common.seed] * len(asked) if seeds is None else list(seeds)
        if len(own) != len(asked):
            raise UsageError(f"{len(own)} seeds for {len(asked)} questions; give one for each.")

        def work(ticket: Ticket) -> Generator[tuple[int, Solution], None, None]:
            for position, event in self._events(ticket, list(zip(asked, own, strict=True)), common):
                if isinstance(event, Solved):
                    yield position, event.solution

        return self._register(work)

    async def astream(
        self, question: str, *, settings: SolveSettings | None = None, seed: int | None = None
    ) -> AsyncIterator[Event]:
        """`stream` for asyncio: the work is done in a thread of its own.

        Its place among the requests is taken when its first event is awaited. Closing the iterator
        or cancelling its task stops the work.
        """
        pump = Pump(self.stream(question, settings=settings, seed=seed))
        try:
            async for events in pump:
                for event in events:
                    yield event
        finally:
            pump.cancel()

    def cancel(self) -> None:
        """Stop what runs now, from any thread; it raises CancelledError there.

        Takes effect within a few milliseconds, in the middle of a prompt too; a comparison of two
        expressions is finished first, which takes some seconds at most once its process has
        started. What waits goes on.
        """
        self._turns.cancel_current()

    def close(self) -> None:
        """Free all native memory; requests that run or wait are cancelled first.

        The weights stay as long as another solver uses them.
        """
        with self._lock:
            loaded, self._loaded = self._loaded, None
            streams = list(self._streams)
        if loaded is None:
            return
        for stream in streams:
            stream.close()
        loaded.close()

    def __enter__(self) -> Solver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _register(self, work: Callable[[Ticket], Generator[Item, None, None]]) -> Stream[Item]:
        """A stream that `close` will find."""
        stream = Stream(Ticket(self._turns), work)
        with self._lock:
            self._streams.add(stream)
        return stream

    def _events(
        self, ticket: Ticket, asked: list[tuple[str, int]], settings: SolveSettings
    ) -> Generator[tuple[int, Event], None, None]:
        """The loop over questions with their seeds, yielding (position, event).

        The only place that steps the engine.
        """
        for question, _ in asked:
            _check_question(question)
        with ticket.turn():
            workplace = self.loaded.workplace
            engine = workplace.engine
            waiting = iter(enumerate(asked))
            active: dict[int, Deliberation] = {}
            engine.reset()  # an abort that came too late for the request before is over
            ticket.check()
            try:
                while True:
                    for position, (question, seed) in itertools.islice(
                        waiting, self._in_flight - len(active)
                    ):
                        problem = Problem(
                            question,
                            seed,
                            position,
                            settings.max_seconds,
                            settings.calculator,
                        )
                        policy = make_policy(settings.policy, self._width, settings.max_rounds)
                        active[position] = Deliberation(workplace, problem, policy)
                        for event in active[position].begin():
                            yield position, event
                    if not active:
                        return
                    yield from _step(engine, active)
            finally:
                engine.reset()


def _step(engine: Engine, active: dict[int, Deliberation]) -> Iterator[tuple[int, Event]]:
    """One decode for all active problems; those that are over leave `active`."""
    owner = {
        ticket: position
        for position, deliberation in active.items()
        for ticket in deliberation.tickets
    }
    began = time.perf_counter()
    progress = engine.step()
    seconds = time.perf_counter() - began
    share = seconds / max(1, len(progress))
    if not progress and engine.reading in owner:
        active[owner[engine.reading]].spend(engine.reading, seconds)
    for item in progress:
        position = owner.get(item.ticket)
        if position is not None:
            for event in active[position].handle(item, share):
                yield position, event
    for position, deliberation in list(active.items()):
        for event in deliberation.give_up_if_late():
            yield position, event
        if deliberation.is_over:
            del active[position]
            yield position, Solved(deliberation.solution())


def _check_question(question: str) -> None:
    if not question.strip():
        raise UsageError("The question is empty. Give a problem in words, such as 'What is 7*8?'.")


def _with_seed(settings: SolveSettings | None, seed: int | None) -> SolveSettings:
    settings = settings or SolveSettings()
    return settings if seed is None else replace(settings, seed=seed)
