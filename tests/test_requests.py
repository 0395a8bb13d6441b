"""Several requests to a solver, several solvers of a process, and what is left when they close."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lorid_edge import Solver
from lorid_edge.engine import shared_models
from lorid_edge.errors import CancelledError, LoridError
from lorid_edge.loading import LoadSettings
from lorid_edge.loop.events import Event, RoleStarted, Solved
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role
from lorid_edge.solver import SolveSettings
from lorid_edge.stream import Stream

QUESTION = "Tom has 3 boxes of 12 pencils and gives away 5. How many pencils are left?"
BRIEF = SolveSettings("ir")
LONG = SolveSettings("vote", max_rounds=100)


@pytest.fixture(scope="module")
def store(tiny_home: Path) -> PackStore:
    return PackStore(tiny_home)


@pytest.fixture(scope="module")
def solver(store: PackStore, brief_pack: Path) -> Iterator[Solver]:
    with Solver.open(brief_pack, settings=LoadSettings(width=2), store=store) as solver:
        yield solver


class Reader(threading.Thread):
    """Reads a stream in a thread of its own and keeps what came of it."""

    def __init__(self, stream: Stream[Event], order: list[str], name: str) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self.solution: object = None
        self._stream = stream
        self._order = order
        self._name = name
        self.start()

    def run(self) -> None:
        try:
            for event in self._stream:
                if isinstance(event, RoleStarted) and self._name not in self._order:
                    self._order.append(self._name)
                if isinstance(event, Solved):
                    self.solution = event.solution
        except BaseException as error:
            self.error = error

    def ended(self) -> Reader:
        self.join(30)
        assert not self.is_alive()
        return self


# --- the queue ------------------------------------------------------------------------------------


def test_requests_run_in_the_order_in_which_they_were_queued(solver: Solver) -> None:
    first = solver.stream(QUESTION, settings=LONG)
    next(first)
    order: list[str] = []
    streams = {name: solver.stream(QUESTION, settings=BRIEF) for name in "abcdefgh"}
    for stream in streams.values():
        stream.queue()
    readers = [Reader(streams[name], order, name) for name in reversed("abcdefgh")]
    first.close()
    assert all(reader.ended().solution is not None for reader in readers)
    assert "".join(order) == "abcdefgh"


def test_a_request_that_waits_is_cancelled_alone_and_at_once(solver: Solver) -> None:
    running = solver.stream(QUESTION, settings=BRIEF)
    next(running)
    waiting = [solver.stream(QUESTION, settings=BRIEF) for _ in range(3)]
    for stream in waiting:
        stream.queue()
    readers = [Reader(stream, [], "") for stream in waiting]
    waiting[1].cancel()
    assert isinstance(readers[1].ended().error, CancelledError)  # while the first still runs
    assert readers[0].is_alive()
    assert isinstance(list(running)[-1], Solved)
    assert readers[0].ended().solution is not None
    assert readers[2].ended().solution is not None


def test_a_cancel_that_comes_late_does_not_hit_the_next_request(solver: Solver) -> None:
    done = solver.stream(QUESTION, settings=BRIEF)
    list(done)
    waiting = solver.stream(QUESTION, settings=BRIEF)
    next(waiting)
    done.cancel()
    assert isinstance(list(waiting)[-1], Solved)
    solver.cancel()  # nothing runs
    assert solver.solve(QUESTION, settings=BRIEF).samples


def test_the_solver_cancels_what_runs_and_what_waits_goes_on(solver: Solver) -> None:
    running, waiting = (solver.stream(QUESTION, settings=BRIEF) for _ in range(2))
    next(running)
    waiting.queue()
    reader = Reader(waiting, [], "")
    solver.cancel()
    with pytest.raises(CancelledError):
        list(running)
    assert reader.ended().solution is not None


def test_a_request_is_cancelled_in_the_middle_of_its_prompt(store: PackStore) -> None:
    """Its prompt takes a second and more to evaluate; it ends before it has written anything."""
    question = "What is this sum? " + " ".join(str(number) for number in range(100, 200))
    with Solver.open("tiny", settings=LoadSettings(width=1), store=store) as solver:
        stream = solver.stream(question, settings=SolveSettings("ir"))
        events = [next(stream)]
        threading.Timer(0.05, stream.cancel).start()
        with pytest.raises(CancelledError):
            events.extend(stream)
        assert [event.name for event in events] == ["role_started"]
        assert solver.solve("What is 2 + 2?", settings=SolveSettings("ir")).samples


def test_a_stream_cancelled_before_it_is_read_never_runs(solver: Solver) -> None:
    stream = solver.stream(QUESTION, settings=LONG)
    stream.cancel()
    with pytest.raises(CancelledError):
        next(stream)
    assert list(stream) == []


def test_a_queued_stream_that_is_cancelled_and_never_read_gives_up_its_place(
    solver: Solver,
) -> None:
    running, cancelled, waiting = (solver.stream(QUESTION, settings=BRIEF) for _ in range(3))
    for stream in (running, cancelled, waiting):
        stream.queue()
    next(running)
    cancelled.cancel()
    assert isinstance(list(running)[-1], Solved)
    assert Reader(waiting, [], "").ended().solution is not None
    with pytest.raises(CancelledError):
        next(cancelled)


def test_a_queued_stream_that_is_refused_gives_up_its_place(solver: Solver) -> None:
    first, second = (solver.stream(QUESTION, settings=BRIEF) for _ in range(2))
    second.queue()
    third = solver.stream(QUESTION, settings=BRIEF)
    next(second)
    first.queue()
    with pytest.raises(LoridError, match="unfinished stream"):
        next(first)
    second.close()
    assert list(third)


def test_a_queued_stream_that_nobody_keeps_gives_up_its_place(solver: Solver) -> None:
    stream = solver.stream(QUESTION, settings=LONG)
    stream.queue()
    del stream
    gc.collect()
    assert solver.solve(QUESTION, settings=BRIEF).samples


def test_a_stream_is_closed_by_another_thread(solver: Solver) -> None:
    stream = solver.stream(QUESTION, settings=LONG)
    reader = Reader(stream, [], "")
    stream.close()
    reader.ended()
    assert reader.solution is None
    stream.queue()  # of no use any more, and no harm
    assert solver.solve(QUESTION, settings=BRIEF).samples


def test_a_cancelled_task_of_asyncio_stops_its_request_alone(solver: Solver) -> None:
    async def consume(settings: SolveSettings) -> list[Event]:
        return [event async for event in solver.astream(QUESTION, settings=settings)]

    async def run() -> list[Event]:
        long = asyncio.create_task(consume(LONG))
        brief = asyncio.create_task(consume(BRIEF))
        await asyncio.sleep(0.05)
        long.cancel()
        return await brief

    assert isinstance(asyncio.run(run())[-1], Solved)


def test_closing_ends_what_runs_and_what_waits(store: PackStore, brief_pack: Path) -> None:
    solver = Solver.open(brief_pack, store=store)
    readers = [Reader(solver.stream(QUESTION, settings=LONG), [], "") for _ in range(3)]
    solver.close()
    for reader in readers:
        assert isinstance(reader.ended().error, LoridError) or reader.error is None
        assert reader.solution is None


def test_events_have_names_and_become_json(solver: Solver) -> None:
    names = set()
    for event in solver.stream(QUESTION, settings=SolveSettings("paper", max_rounds=2)):
        names.add(event.name)
        assert json.loads(event.to_json()) == event.to_dict()
        if isinstance(event, Solved):
            assert event.to_dict() == {"solution": json.loads(event.solution.to_json())}
        if isinstance(event, RoleStarted):
            assert event.to_dict() == {
                "role": event.role.value,
                "round": event.round,
                "index": event.index,
            }
    assert {"role_started", "text_added", "sample_finished", "solved"} <= names


# --- several solvers ------------------------------------------------------------------------------


def adapted_pack(
    folder: Path, brief_pack: Path, write_adapter: Callable[[Path, int], str], seed: int
) -> Path:
    """The brief pack with an adapter for the deep reasoner."""
    folder.mkdir()
    sha256 = write_adapter(folder / "deep.gguf", seed)
    text = (brief_pack / "pack.toml").read_text()
    role = Role.DEEP_REASONER.value
    text += f'\n[roles.{role}.adapter]\nfile = "deep.gguf"\nsha256 = "{sha256}"\n'
    (folder / "pack.toml").write_text(text)
    return folder


def test_solvers_of_one_base_share_its_weights(
    store: PackStore, brief_pack: Path, tiny_base: Path
) -> None:
    process = psutil.Process()
    settings = LoadSettings(width=1)
    with Solver.open(brief_pack, settings=settings, store=store) as first:
        before = process.memory_info().rss
        with Solver.open(brief_pack, settings=settings, store=store) as second:
            grown = process.memory_info().rss - before
            assert second.loaded.model is first.loaded.model
            assert grown < tiny_base.stat().st_size // 2  # its own cache, and no second base
        assert first.solve(QUESTION, settings=BRIEF).samples


def test_solvers_at_work_at_once_do_not_disturb_each_other(
    tmp_path: Path, store: PackStore, brief_pack: Path, write_adapter: Callable[[Path, int], str]
) -> None:
    """Nor does one that comes and goes with its adapter meanwhile."""
    packs = [adapted_pack(tmp_path / f"{seed}", brief_pack, write_adapter, seed) for seed in (1, 2)]
    settings, solving = LoadSettings(width=1), SolveSettings("dr", max_rounds=1)
    solvers = [Solver.open(pack, settings=settings, store=store) for pack in packs]
    alone = [solver.solve(QUESTION, settings=solving).samples for solver in solvers]
    assert alone[0] != alone[1]
    together: dict[int, list[object]] = {0: [], 1: []}

    def work(number: int) -> None:
        for _ in range(4):
            together[number].append(solvers[number].solve(QUESTION, settings=solving).samples)

    threads = [threading.Thread(target=work, args=(number,)) for number in together]
    for thread in threads:
        thread.start()
    other = adapted_pack(tmp_path / "other", brief_pack, write_adapter, 3)
    while any(thread.is_alive() for thread in threads):
        Solver.open(other, settings=settings, store=store).close()
    for number, solver in enumerate(solvers):
        assert together[number] == [alone[number]] * 4
        solver.close()


def test_the_last_solver_frees_weights_and_adapters(
    tmp_path: Path, store: PackStore, brief_pack: Path, write_adapter: Callable[[Path, int], str]
) -> None:
    pack = adapted_pack(tmp_path / "pack", brief_pack, write_adapter, 1)
    first = Solver.open(pack, settings=LoadSettings(width=1), store=store)
    second = Solver.open(pack, settings=LoadSettings(width=1), store=store)
    model, base = first.loaded.model, first.loaded.workplace.manifest.base
    first.close()
    assert shared_models.is_loaded(base.sha256)
    assert second.solve(QUESTION, settings=SolveSettings("dr", max_rounds=1)).samples
    plain = Solver.open(brief_pack, settings=LoadSettings(width=1), store=store)
    second.close()
    assert plain.loaded.model is model
    assert model.handle is not None
    plain.close()


def grown_bytes(store: PackStore, pack: Path, times: int) -> int:
    """How much resident memory grew by opening, solving and closing so often."""
    process = psutil.Process()

    def once() -> None:
        with Solver.open(pack, settings=LoadSettings(width=1), store=store) as solver:
            solver.solve(QUESTION, settings=BRIEF)

    for _ in range(3):  # what is kept once for the process
        once()
    before = process.memory_info().rss
    for _ in range(times):
        once()
    gc.collect()
    return process.memory_info().rss - before


@pytest.mark.parametrize("times", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_memory_stays_flat_over_many_solvers(
    tmp_path: Path,
    store: PackStore,
    brief_pack: Path,
    write_adapter: Callable[[Path, int], str],
    times: int,
) -> None:
    """The base is 98 MB and a cache 20 MB: had one of either stayed, it would be far beyond."""
    pack = adapted_pack(tmp_path / "pack", brief_pack, write_adapter, 1)
    # Pages of the mapped base count as well, and come and go with the kernel's reclaim: what stays
    # would show every time.
    assert any(grown_bytes(store, pack, times) < 10_000_000 for _ in range(3))
