"""A thread of their own for the decodes of a context, on a CPU with AMX.

llama.cpp configures the tiles of AMX once in each of its threads and relies on them from then on.
Other libraries in the process do the same: torch multiplies bfloat16 through oneDNN, which releases
the tiles of the thread that called it, and the next decode there ends in an illegal instruction. A
thread that nobody else calls from, with OpenMP workers of its own, keeps them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class DecodingThread:
    """Runs one call at a time while the caller waits."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="lorid-edge-decoding")
        self._wait_until_idle()  # an interrupt while the thread is begun would make a second one

    def run(self, call: Callable[[], Result]) -> Result:
        """What `call` returns or raises.

        An exception in the waiting thread, such as KeyboardInterrupt, comes out once the call has
        ended: what it works on must not be touched before.
        """
        try:
            return self._executor.submit(call).result()
        except BaseException:
            self._wait_until_idle()
            raise

    def _wait_until_idle(self) -> None:
        """Calls run one after the other: when this one has, all before it have ended."""
        while True:
            try:
                return self._executor.submit(_nothing).result()
            except KeyboardInterrupt:
                continue

    def close(self) -> None:
        """End the thread; it may be closed twice."""
        self._executor.shutdown()


def _nothing() -> None:
    pass
