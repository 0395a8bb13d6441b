"""A stream read in a thread of its own, for an event loop that must not block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import ClassVar, Generic, TypeVar

from lorid_edge.stream import Stream

Item = TypeVar("Item")


class Pump(AsyncIterator[list[Item]], Generic[Item]):
    """Yields what a stream gives, all that came since the last time in one list.

    However slowly it is read, the stream goes on. To be made and read in one event loop; raises
    there what the stream raises.
    """

    pause_seconds: ClassVar[float] = 0.0
    """How long to gather items after each list, unless the stream ends: each list wakes the event
    loop, which takes its time from the decoding."""

    def __init__(self, stream: Stream[Item]) -> None:
        """Take the stream's place among the requests and start the thread."""
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self._lock = threading.Lock()
        self._items: list[Item] = []
        self._error: BaseException | None = None
        self._is_over = False
        self._is_announced = False
        self._next_at = 0.0
        stream.queue()
        threading.Thread(target=self._read, name="lorid-edge-pump", daemon=True).start()

    def cancel(self) -> None:
        """Stop the work; what came before may still be read."""
        self._stream.cancel()

    async def __anext__(self) -> list[Item]:
        while True:
            await self._came.wait()
            self._came.clear()
            self._next_at = self._loop.time() + self.pause_seconds
            with self._lock:
                items, self._items = self._items, []
                self._is_announced = False
                is_over = self._is_over
            if items:
                if is_over:
                    self._came.set()
                return items
            if is_over:
                self._came.set()
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration

    def _read(self) -> None:
        error = None
        try:
            for item in self._stream:
                self._announce(item)
        except BaseException as caught:
            error = caught
        self._announce(None, error, is_over=True)

    def _keep(self, items: list[Item], item: Item) -> None:
        """Add `item` to those that are not read yet; called by the thread that reads the stream."""
        items.append(item)

    def _announce(
        self, item: Item | None, error: BaseException | None = None, is_over: bool = False
    ) -> None:
        """Keep what came, and tell the event loop once of all that it has not read yet."""
        with self._lock:
            if is_over:
                self._error, self._is_over = error, True
            elif item is not None:
                self._keep(self._items, item)
            if not is_over and (self._is_announced or not self._items):
                return
            self._is_announced = True
        try:
            self._loop.call_soon_threadsafe(self._wake, is_over)
        except RuntimeError:  # the event loop is closed: nobody will read
            self._stream.cancel()

    def _wake(self, is_over: bool) -> None:
        """In the event loop: let the reader go on, now or when its pause is over."""
        if is_over or self._loop.time() >= self._next_at:
            self._came.set()
        else:
            self._loop.call_at(self._next_at, self._came.set)
