"""A thread of their own for the decodes of a context, on a CPU with AMX.

llama.cpp configures the tiles of AMX once in each of its threads and relies on them from then on.
Other libraries in the process do the same: torch multiplies bfloat16 through oneDNN, which releases
the tiles of the thread that called it, and the next decode there ends in an illegal instruction. A
thread that nobody else calls from, with OpenMP workers of its own, keeps them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from lorid_edge.errors import EngineError

Result = TypeVar("Result")


class DecodingThread:
    """Runs one call at a time while the caller waits.

    No executor of the standard library: theirs take no calls once the main thread has ended, while
    a caller in another thread goes on.
    """

    def __init__(self) -> None:
        """Raises EngineError if the system allows no further thread."""
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._serve, name="lorid-edge-decoding", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise EngineError(f"no thread to decode in can be started: {error}") from error

    def run(self, call: Callable[[], Result]) -> Result:
        """What `call` returns or raises.

        An exception in the waiting thread, such as KeyboardInterrupt, comes out once the call has
        ended: what it works on must not be touched before.
        """
        try:
            return self._submit(call).result()
        except BaseException:
            self._wait_until_idle()
            raise

    def close(self) -> None:
        """End the thread; it may be closed twice."""
        self._calls.put(None)
        self._thread.join()

    def _submit(self, call: Callable[[], Result]) -> Future[Result]:
        future: Future[Result] = Future()
        self._calls.put((future, call))
        return future

    def _wait_until_idle(self) -> None:
        """Calls run one after the other: when this one has, all before it have ended."""
        is_idle = False
        while not is_idle:
            try:
                is_idle = self._submit(lambda: True).result()
            except BaseException:  # another signal; what was raised first will be raised
                continue

    def _serve(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            del item, future, call  # nothing that a caller is done with is kept until the next
