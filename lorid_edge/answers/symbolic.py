"""Asks math-verify whether two expressions are equal, in a child process that can be ended.

Simplifying an expression can take for ever, and math-verify's own time limits need signals,
which only a main thread may set. So one persistent child compares, and is killed and started
anew when a comparison takes too long. Texts go both ways as JSON lines.
"""

from __future__ import annotations

import atexit
import json
import logging
import queue
import subprocess
import sys
import threading
from functools import lru_cache

from lorid_edge.child import module_command

_logger = logging.getLogger("lorid_edge.answers")

COMPARISON_SECONDS = 3.0
# Importing sympy takes a second on a laptop, and many on a cold or busy small machine.
START_SECONDS = 60.0


class SymbolicProcess:
    """One child process that compares expressions. Thread-safe: comparisons wait in line."""

    def __init__(
        self,
        comparison_seconds: float = COMPARISON_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._comparison_seconds = comparison_seconds
        self._start_seconds = start_seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._replies: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._is_ready = False
        self._unavailable = False

    def start(self) -> None:
        """Start the child if none runs and return at once: a comparison then waits less for it."""
        if not self._lock.acquire(blocking=False):
            return  # a comparison is under way, which starts it or has it
        try:
            if not self._unavailable and not self._is_alive():
                self._start()
        except OSError:
            pass  # the comparison that needs it says so
        finally:
            self._lock.release()

    def equal(self, first: str, second: str) -> bool | None:
        """Compare two LaTeX expressions; None when undecided within the bound, in seconds."""
        with self._lock:
            if self._unavailable or not self._running():
                return None
            reply = self._ask(json.dumps([first, second]))
            if reply is None:
                self._end()
                return None
            return reply == "true"

    def close(self) -> None:
        """End the child; a later comparison starts a new one."""
        with self._lock:
            self._end()

    def _running(self) -> bool:
        """Start the child unless it runs. Warns once, and gives up, where it cannot run."""
        try:
            if not self._is_alive():
                self._start()
            if not self._is_ready:
                self._is_ready = self._replies.get(timeout=self._start_seconds) == "ready"
        except (OSError, queue.Empty):
            pass
        if not self._is_ready:
            self._end()
            self._unavailable = True
            _logger.warning(
                "math-verify could not be started with %s: answers that are no numbers are "
                "compared as text. Reinstall lorid-edge with its dependencies.",
                sys.executable or "this Python",
            )
        return self._is_ready

    def _is_alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _start(self) -> None:
        self._end()
        self._replies = queue.SimpleQueue()
        self._child = subprocess.Popen(
            module_command("lorid_edge.answers.symbolic_worker", str(self._comparison_seconds + 1)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
        )
        threading.Thread(
            target=_forward_lines, args=(self._child, self._replies), daemon=True
        ).start()

    def _ask(self, request: str) -> str | None:
        """Return the child's reply, or None when it died or took too long."""
        child = self._child
        if child is None or child.stdin is None:
            return None
        try:
            child.stdin.write(request + "\n")
            child.stdin.flush()
            return self._replies.get(timeout=self._comparison_seconds)
        except (OSError, queue.Empty):
            return None

    def _end(self) -> None:
        child, self._child = self._child, None
        self._is_ready = False
        if child is None:
            return
        child.kill()
        child.wait()
        if child.stdin is not None:
            try:
                child.stdin.close()
            except OSError:  # an unsent request can no longer be flushed
                pass


def _forward_lines(child: subprocess.Popen[str], replies: queue.SimpleQueue[str | None]) -> None:
    """Pass the child's lines on, so that a reply can be awaited with a time limit anywhere."""
    if child.stdout is not None:
        with child.stdout:
            for line in child.stdout:
                replies.put(line.strip())
    replies.put(None)


_process = SymbolicProcess()
atexit.register(_process.close)


class _UndecidedError(Exception):
    """Ends a comparison without a verdict, so that none is remembered."""


def expect_comparison() -> None:
    """Start the shared child process in the background, where a comparison is likely to come."""
    _process.start()


def symbolically_equal(first: str, second: str) -> bool:
    """Compare two LaTeX expressions in the shared child process, remembering each verdict.

    What is not decided in time counts as different, this once: a busy machine may do it later.
    """
    try:
        return _verdict(first, second)
    except _UndecidedError:
        return False


@lru_cache(maxsize=4096)
def _verdict(first: str, second: str) -> bool:
    equal = _process.equal(first, second)
    if equal is None:
        raise _UndecidedError
    return equal
