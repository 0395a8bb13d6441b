"""Sizes that come again and again.

oneDNN, which multiplies for torch on a CPU, generates machine code for each shape of a product that
it has not met, some 3 ms each with AMX. Examples without padding brought it a hundred of them a
step; so rows are filled up to multiples (docs/experiments.md, "Shapes that come again").
"""

from __future__ import annotations

import torch

ROW_STEP = 64
"""Of the rows of a pass, a few per cent of which fill up."""

POSITION_STEP = 16
"""Of what attends, and is attended to, in one example."""


def filled(count: int, step: int) -> int:
    """The smallest multiple of `step` that is at least `count`."""
    return -(-count // step) * step


def fill_rows(values: torch.Tensor, value: int) -> torch.Tensor:
    """(rows,) with so many of `value` behind them that their number comes again."""
    missing = filled(len(values), ROW_STEP) - len(values)
    return torch.nn.functional.pad(values, (0, missing), value=value)
