"""A dozen word problems, made up for measuring; they are in no data set.

They are too few to tell what a pack is worth: `lorid-edge eval` does that.
"""

from __future__ import annotations

import functools
from pathlib import Path

from lorid_edge.problems import FileProblem, read_problems


@functools.cache
def built_in_problems() -> tuple[FileProblem, ...]:
    """All built-in problems with their answers, always in the same order."""
    path = Path(__file__).with_name("problems.jsonl")
    return tuple(problem for problem in read_problems(path) if isinstance(problem, FileProblem))
