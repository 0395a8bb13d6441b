"""`train --show-example`: what is read in dim, what is learnt in green, the end token visible."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from . import streams

if TYPE_CHECKING:
    from lorid_edge.train.plan import Plan


def examples_json(plan: Plan) -> None:
    """Print the first example of each role in its three parts, and how many the role has."""
    from lorid_edge.train.shown import show

    from .converting import as_json

    vocabulary = plan.base.vocabulary()
    examples = {
        role.value: {
            "examples": len(planned.examples),
            **asdict(show(planned.examples[0], vocabulary)),
        }
        for role, planned in plan.roles.items()
    }
    as_json(recipe=plan.recipe.name, roles=examples)


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
