"""Weights that are used by many and changed by one at a time."""

from __future__ import annotations

import signal
import threading

import pytest

from lorid_edge.engine.occupancy import Occupancy


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_a_signal_while_a_change_waits_blocks_nobody() -> None:
    occupancy = Occupancy()

    def change() -> None:
        with occupancy.change():
            pytest.fail("it is in use")

    def interrupt(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with occupancy.use():
            main = threading.main_thread().ident
            threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGUSR1)).start()
            with pytest.raises(InterruptedError):
                change()
    finally:
        signal.signal(signal.SIGUSR1, before)
    with occupancy.use():
        pass
