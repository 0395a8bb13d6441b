"""Work in a thread of its own, so that Ctrl-C is heard while native code runs.

Python runs signal handlers in the main thread and between two bytecodes: a main thread inside a
decode or a load would not hear of Ctrl-C before the end of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")

TICK_SECONDS = 0.1
_THREAD_NAME = "lorid-edge-work"


@dataclass(frozen=True)
class _Produced(Generic[Item]):
    item: Item


@dataclass(frozen=True)
class _Ended:
    error: BaseException | None


def items(
    produce: Callable[[], Iterable[Item]], cancel: Callable[[], None]
) -> Generator[Item | None, None, None]:
    """Yield what `produce` yields in another thread, and None whenever nothing came for a tick.

    Whoever stops early, by Ctrl-C or by closing the iterator, has the work cancelled by `cancel`
    and waits for its end. Raises what `produce` raises.
    """
    queue: SimpleQueue[_Produced[Item] | _Ended] = SimpleQueue()
    thread = _start(produce, queue)
    try:
        while True:
            try:
                entry = queue.get(timeout=TICK_SECONDS)
            except Empty:
                yield None
                continue
            if isinstance(entry, _Ended):
                break
            yield entry.item
    finally:
        thread.join(0.01)
        while thread.is_alive():  # a cancel that comes before the work has begun is lost
            cancel()
            thread.join(0.01)
    if entry.error is not None:
        raise entry.error


def value(produce: Callable[[], Item]) -> Item:
    """Return what `produce` returns in another thread. Ctrl-C leaves that thread to itself.

    Raises what `produce` raises.
    """
    queue: SimpleQueue[_Produced[Item] | _Ended] = SimpleQueue()
    _start(lambda: [produce()], queue)
    while True:
        try:
            entry = queue.get(timeout=TICK_SECONDS)
        except Empty:
            continue
        if isinstance(entry, _Produced):
            return entry.item
        if entry.error is not None:
            raise entry.error


def is_abandoned() -> bool:
    """Whether a thread is still at work: then the process must not run native destructors."""
    return any(thread.name == _THREAD_NAME for thread in threading.enumerate())


def _start(
    produce: Callable[[], Iterable[Item]], queue: SimpleQueue[_Produced[Item] | _Ended]
) -> threading.Thread:
    def work() -> None:
        try:
            for item in produce():
                queue.put(_Produced(item))
        except BaseException as error:
            queue.put(_Ended(error))
        else:
            queue.put(_Ended(None))

    thread = threading.Thread(target=work, name=_THREAD_NAME, daemon=True)
    thread.start()
    return thread
