"""Solves in a thread of its own and tells the window by signals.

The window never waits: a signal that is emitted in another thread than the receiver's goes through
Qt's event queue, and cancelling is a call that returns at once.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from PySide6.QtCore import QObject, Signal

from lorid_edge import LoridError, Solver
from lorid_edge.errors import CancelledError
from lorid_edge.loading import LoadSettings


class Worker(QObject):
    """One pack, loaded and used in one thread. The methods are for the window's thread."""

    ready = Signal()
    unavailable = Signal(str)
    """Why the pack cannot be loaded."""
    happened = Signal(object)
    """An event of `lorid_edge.loop.events`."""
    cancelled = Signal()
    failed = Signal(str)
    """What went wrong, as it may be shown."""

    def __init__(self, pack: str) -> None:
        super().__init__()
        self._pack = pack
        self._solver: Solver | None = None
        self._questions: SimpleQueue[str | None] = SimpleQueue()
        self._is_wanted = threading.Event()
        self._thread = threading.Thread(target=self._work, name="solver")

    def start(self) -> None:
        """Load the pack, then say `ready` or `unavailable`."""
        self._thread.start()

    def solve(self, question: str) -> None:
        """Begin to solve; what happens comes by signals."""
        self._is_wanted.set()
        self._questions.put(question)

    def cancel(self) -> None:
        """Stop what is solved now; `cancelled` follows."""
        self._is_wanted.clear()
        if self._solver is not None:
            self._solver.cancel()

    def close(self) -> None:
        """Stop and free everything; waits for the few milliseconds that it takes."""
        self._questions.put(None)
        self.cancel()
        self._thread.join()

    @property
    def is_open(self) -> bool:
        """Whether a pack is in memory or being loaded."""
        return self._thread.is_alive()

    def _work(self) -> None:
        try:
            solver = Solver.open(self._pack, settings=LoadSettings(width=2))
        except LoridError as error:
            self.unavailable.emit(str(error))
            return
        with solver:
            self._solver = solver
            self.ready.emit()
            while (question := self._questions.get()) is not None:
                self._solve(solver, question)
            self._solver = None

    def _solve(self, solver: Solver, question: str) -> None:
        try:
            with solver.stream(question) as events:
                for event in events:
                    if not self._is_wanted.is_set():
                        raise CancelledError("Cancelled before the stream had begun.")
                    self.happened.emit(event)
        except CancelledError:
            self.cancelled.emit()
        except LoridError as error:
            self.failed.emit(str(error))
