"""A request to a solver, as the iterator that its caller reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Generic, TypeVar

from lorid_edge.turns import Ticket

Item = TypeVar("Item")


class Stream(Iterator[Item], Generic[Item]):
    """What a request yields; the work is done in the thread that reads, between two items.

    It takes its place among the solver's requests with the first item that is read, or before with
    `queue`. Reading raises CancelledError after `cancel`, and ends after `close`. `queue`, `cancel`
    and `close` may be called from any thread.
    """

    def __init__(
        self, ticket: Ticket, work: Callable[[Ticket], Generator[Item, None, None]]
    ) -> None:
        """Args:
        ticket: this request's place.
        work: yields the items; begins by waiting for the ticket's turn.
        """
        self._ticket = ticket
        self._items = work(ticket)
        self._reading = threading.Lock()

    def __next__(self) -> Item:
        with self._reading:
            return next(self._items)

    def queue(self) -> None:
        """Take a place behind the requests that are queued now; the first item has to be read then.

        Without it, the place is taken when the first item is read.
        """
        self._ticket.queue()

    def cancel(self) -> None:
        """Stop this request alone, whether it runs or waits; its reader gets CancelledError.

        Takes effect within a few milliseconds, in the middle of a prompt too.
        """
        self._ticket.cancel()

    def close(self) -> None:
        """Stop this request and let the next one have its turn; returns when that is done."""
        self._ticket.cancel()
        with self._reading:
            self._items.close()
            self._ticket.leave()

    def __enter__(self) -> Stream[Item]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._items.close()  # first, for it is still its turn until the engine is tidied
        self._ticket.leave()
