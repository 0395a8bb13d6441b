"""The command that runs a module of this package in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

_START = (
    "import sys; root, own = sys.argv.pop(1), [*filter(None, sys.path)]; "
    "sys.path[:] = own if root in own else [root, *own]; import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def module_command(module: str, *arguments: str) -> list[str]:
    """What to give to `subprocess` to run `module` as `python -m` would, with these arguments.

    The child finds this very package, wherever the parent found it. `python -m` would look into
    the user's working folder first, and run a numpy.py that lies there. Where the package is
    installed, the standard library stays before what is installed beside it.
    """
    root = Path(__file__).absolute().parents[1]
    return [sys.executable, "-c", _START, str(root), module, *arguments]
