"""`train --show-example`: what is read in dim, what is learnt in green, the end token visible."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from . import streams

if TYPE_CHECKING:
    from lorid_edge.train.plan import Plan


def show_examples(plan: Plan) -> None:
    """Show the first example of each role; with marks where colour is not possible."""
    from lorid_edge.train.shown import show

    vocabulary = plan.base.vocabulary()
    coloured = streams.can_animate(sys.stdout)
    for role, planned in plan.roles.items():
        shown = show(planned.examples[0], vocabulary)
        title = f"{role.value}, 1 of {len(planned.examples):,}"
        if coloured:
            from . import render

            render.print_example(title, shown.prompt, shown.completion, shown.end)
        else:
            streams.result(f"--- {title}\n{shown.marked()}\n")
