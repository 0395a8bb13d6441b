"""Who may use the engine now: one request at a time, in the order in which they queued.

Not responsible for what a request does with its turn (`solver`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lorid_edge.errors import CancelledError, LoridError


class Turns:
    """A queue of tickets; the first in it has the turn. Thread-safe."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        """Args:
        interrupt: stops the work of the ticket that has the turn; called from any thread.
        """
        self._interrupt = interrupt
        self._lock = threading.RLock()  # a collected stream may leave while this thread holds it
        self._tickets: deque[Ticket] = deque()

    def cancel_current(self) -> None:
        """Cancel the ticket that has the turn, if any has."""
        with self._lock:
            if self._tickets:
                self._cancel(self._tickets[0])

    def queue(self, ticket: Ticket) -> None:
        """Put `ticket` at the end, unless it was queued before."""
        with self._lock:
            if not ticket.was_queued:
                ticket.was_queued = True
                self._tickets.append(ticket)
                self._call_first()

    def cancel(self, ticket: Ticket) -> None:
        """Make `ticket` end with CancelledError: at once if it waits, else where its work is.

        One that waits gives up its place, for nobody may ever come to read its end.
        """
        with self._lock:
            self._cancel(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Give up the turn or the place in the queue, for good."""
        with self._lock:
            ticket.was_queued = True
            if ticket in self._tickets:
                self._tickets.remove(ticket)
                self._call_first()

    def begin(self, ticket: Ticket) -> None:
        """Give the turn to the calling thread, unless `ticket` was cancelled meanwhile."""
        with self._lock:
            ticket.check()
            ticket.thread = threading.get_ident()

    def refuse_if_held_here(self) -> None:
        """Raise if the calling thread has the turn: it would wait for itself."""
        with self._lock:
            if self._tickets and self._tickets[0].thread == threading.get_ident():
                raise LoridError(
                    "This thread already has an unfinished stream of this solver: finish or close "
                    "it before the next request."
                )

    def _cancel(self, ticket: Ticket) -> None:
        ticket.is_cancelled = True
        if ticket.thread is None:
            self.leave(ticket)
        elif self._tickets and self._tickets[0] is ticket:
            self._interrupt()
        ticket.may_go_on.set()

    def _call_first(self) -> None:
        if self._tickets:
            self._tickets[0].may_go_on.set()


class Ticket:
    """One request's place among the others.

    Attributes:
        thread: the thread that has the turn by this ticket; None while it waits.
        may_go_on: set when it is first in the queue or cancelled.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.thread: int | None = None
        self.was_queued = False
        self.is_cancelled = False
        self.may_go_on = threading.Event()

    def queue(self) -> None:
        """Take a place in the queue now rather than with `turn`; returns at once."""
        self._turns.queue(self)

    def cancel(self) -> None:
        """Cancel this request alone, from any thread."""
        self._turns.cancel(self)

    def leave(self) -> None:
        """Give up the place in the queue."""
        self._turns.leave(self)

    def check(self) -> None:
        """Raise CancelledError if this request was cancelled."""
        if self.is_cancelled:
            raise CancelledError("Cancelled.")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn and keep it inside the `with`.

        Raises:
            CancelledError: the ticket was cancelled before its turn came.
            LoridError: this thread has the turn by another ticket.
        """
        try:
            self._turns.refuse_if_held_here()
            self.queue()
            self.may_go_on.wait()
            self._turns.begin(self)
            yield
        finally:
            self.leave()
