"""lorid-edge solves mathematical problems offline with one small model and three LoRA roles.

    from lorid_edge import Solver
    with Solver.open("tiny") as solver:
        print(solver.solve("What is 12 * 12?").answer)

Importing this package loads neither the native library nor torch; `Solver.open` does the former.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lorid_edge.errors import LoridError
from lorid_edge.roles import Role

if TYPE_CHECKING:
    from lorid_edge.loop.events import Event
    from lorid_edge.loop.solution import Solution
    from lorid_edge.solver import Solver

__version__ = "0.1.0"
__all__ = ["Event", "LoridError", "Role", "Solution", "Solver", "__version__"]

# A library must not print: without this, Python shows warnings on stderr by itself.
logging.getLogger("lorid_edge").addHandler(logging.NullHandler())

_LAZY = {
    "Event": "lorid_edge.loop.events",
    "Solution": "lorid_edge.loop.solution",
    "Solver": "lorid_edge.solver",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
