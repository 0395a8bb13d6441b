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
from pathlib import Path

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
        self._unavailable = False

    def equal(self, first: str, second: str) -> bool:
        """Compare two LaTeX expressions; False when undecided within the bound, in seconds."""
        with self._lock:
            if self._unavailable or not self._running():
                return False
            reply = self._ask(json.dumps([first, second]))
            if reply is None:
                self._end()
            return reply == "true"

    def close(self) -> None:
        """End the child; a later comparison starts a new one."""
        with self._lock:
            self._end()

    def _running(self) -> bool:
        """Start the child unless it runs. Warns once, and gives up, where it cannot run."""
        if self._child is not None and self._child.poll() is None:
            return True
        self._end()
        try:
            self._start()
            ready = self._replies.get(timeout=self._start_seconds) == "ready"
        except (OSError, queue.Empty):
            ready = False
        if not ready:
            self._end()
            self._unavailable = True
            _logger.warning(
                "math-verify could not be started with %s: answers that are no numbers are "
                "compared as text. Reinstall lorid-edge with its dependencies.",
                sys.executable or "this Python",
            )
        return ready

    def _start(self) -> None:
        self._replies = queue.SimpleQueue()
        # Run from the folder that holds the package, never from the user's: Python puts the
        # current folder first on the import path.
        package_parent = Path(__file__).resolve().parents[2]
        self._child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lorid_edge.answers.symbolic_worker",
                str(self._comparison_seconds + 1),
            ],
            cwd=package_parent,
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


@lru_cache(maxsize=4096)
def symbolically_equal(first: str, second: str) -> bool:
    """Compare two LaTeX expressions in the shared child process, remembering each verdict."""
    return _process.equal(first, second)
