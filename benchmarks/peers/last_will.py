"""Children that do not outlive their parent, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """To be called in a new child: the system kills it when its parent is gone (Linux).

    It also leaves the terminal's group, so that Ctrl-C reaches the parent alone, which ends its
    children in order.
    """
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
