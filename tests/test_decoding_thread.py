"""Decodes in a thread of their own: what comes back, and that nothing is left running."""

from __future__ import annotations

import _thread
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import numpy.typing as npt
import pytest

from lorid_edge.engine import native
from lorid_edge.engine.batch import Batch
from lorid_edge.engine.context import Context
from lorid_edge.engine.decoding_thread import DecodingThread
from lorid_edge.engine.model import Model


def test_calls_run_in_one_thread_that_is_not_the_callers() -> None:
    thread = DecodingThread()
    first, second = thread.run(threading.get_ident), thread.run(threading.get_ident)
    assert first == second != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 / 0)
    thread.close()
    thread.close()


def test_an_interrupt_comes_out_only_when_the_call_has_ended() -> None:
    has_ended = threading.Event()

    def interrupted_call() -> None:
        _thread.interrupt_main()
        time.sleep(0.3)  # the waiting thread has its interrupt meanwhile
        has_ended.set()

    thread = DecodingThread()
    with pytest.raises(KeyboardInterrupt):
        thread.run(interrupted_call)
    assert has_ended.is_set()
    thread.close()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals at intervals")
def test_not_even_a_second_signal_leaves_a_call_behind() -> None:
    class AlarmError(Exception):
        pass

    def ring(*_: object) -> None:
        raise AlarmError

    def call() -> None:
        time.sleep(0.5)
        signal.setitimer(signal.ITIMER_REAL, 0)
        has_ended.set()

    thread = DecodingThread()
    has_ended = threading.Event()
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.05)
        with pytest.raises(AlarmError):
            thread.run(call)
        assert has_ended.is_set()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    thread.close()


def test_calls_are_taken_after_the_main_thread_has_ended() -> None:
    program = """
import threading, time
from lorid_edge.engine.decoding_thread import DecodingThread
decoding = DecodingThread()
def work():
    threading.main_thread().join()
    time.sleep(0.2)
    print(decoding.run(lambda: "decoded"))
threading.Thread(target=work).start()
"""
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert child.stdout == "decoded\n", child.stderr


@pytest.mark.skipif(not native.uses_amx(), reason="needs a CPU with AMX and a build that uses it")
def test_torch_in_the_same_process_disturbs_no_decode(tiny_model: Model) -> None:
    torch = pytest.importorskip("torch")
    matrix = torch.ones((256, 256), dtype=torch.bfloat16)
    context = Context(
        tiny_model, native.AbortFlag(), sequence_tokens=64, sequences=1, outputs=1, threads=2
    )
    batch = Batch(32)
    batch.add(0, 0, tiny_model.tokenize("One, two, three, four, five", special=False), 1)

    def logits() -> npt.NDArray[np.float32]:
        context.clear()
        context.decode(batch)
        return context.logits(batch, 0).copy()

    before = logits()
    for _ in range(3):
        assert matrix.matmul(matrix)[0, 0] == 256
        np.testing.assert_array_equal(logits(), before)
    context.close()
