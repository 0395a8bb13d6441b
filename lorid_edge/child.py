"""The command that runs a module of this package in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

_START = (
    "import sys; sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]; import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *arguments: str) -> list[str]:
    """What to give to `subprocess` to run `module` as `python -m` would, with these arguments.

    The child finds this very package, wherever the parent found it. `python -m` would look into
    the user's working folder first, and run a numpy.py that lies there.
    """
    root = Path(__file__).resolve().parents[1]
    return [sys.executable, "-c", _START, str(root), module, *arguments]
