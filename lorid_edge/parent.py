"""The end of the parent process, which is to be the end of this one."""

from __future__ import annotations

import os
import threading
import time

import psutil

CHECK_SECONDS = 0.5


def end_with_parent() -> None:
    """From now on, end this process, whatever it does, soon after its parent has ended.

    A closed standard stream is not enough: another child of the parent may keep it open.
    """
    parent = psutil.Process().parent()

    def watch() -> None:
        while parent is not None and _is_alive(parent):
            time.sleep(CHECK_SECONDS)
        os._exit(0)

    threading.Thread(target=watch, name="lorid-edge-parent", daemon=True).start()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
