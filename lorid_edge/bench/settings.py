"""What a benchmark is to measure, and how often."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict, Field

from lorid_edge.bench.figures import Part
from lorid_edge.errors import UsageError
from lorid_edge.loop.policies import POLICIES, make_policy

PARTS: tuple[Part, ...] = get_args(Part)


class BenchSettings(BaseModel):
    """Sizes of a benchmark; those of `quick` are for trying it.

    Attributes:
        pack: a name or the path of a pack's folder.
        parts: measured in this order.
        runs: counted runs; one more before them warms up.
        sequences: how many are decoded at once, 1 to 16 each.
        steps: decodes that one speed is measured over.
        policies: measured on the built-in problems.
        problems: how many of the built-in problems.
        threads: None to choose by the machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pack: str
    parts: tuple[Part, ...] = PARTS
    runs: Annotated[int, Field(ge=1)] = 5
    sequences: tuple[int, ...] = (1, 2, 4, 8, 16)
    steps: Annotated[int, Field(ge=1)] = 32
    policies: tuple[str, ...] = tuple(POLICIES)
    problems: Annotated[int, Field(ge=1)] = 12
    threads: int | None = None


def bench_settings(
    pack: str,
    *,
    quick: bool = False,
    parts: tuple[str, ...] = (),
    runs: int | None = None,
    policies: tuple[str, ...] = (),
    problems: int | None = None,
    threads: int | None = None,
) -> BenchSettings:
    """The settings that a user asked for; what is empty or None gets its default.

    Raises:
        UsageError: an unknown part or policy, or a number out of range.
    """
    from lorid_edge.bench.problems import built_in_problems

    known = len(built_in_problems())
    for name, value, largest in (("runs", runs, 100), ("problems", problems, known)):
        if value is not None and not 1 <= value <= largest:
            raise UsageError(f"--{name} is {value}; it has to be from 1 to {largest}.")
    if threads is not None and not 1 <= threads <= 512:
        raise UsageError(f"--threads is {threads}; it has to be from 1 to 512.")
    for part in parts:
        if part not in PARTS:
            raise UsageError(f"--part is {part!r}; it has to be {', '.join(PARTS)}.")
    for policy in policies:
        make_policy(policy, 1)
    sizes = {"runs": 2, "sequences": (1, 4), "steps": 8, "problems": 2} if quick else {}
    asked = {
        "parts": tuple(part for part in PARTS if part in parts),
        "runs": runs,
        "policies": tuple(dict.fromkeys(policies)),
        "problems": problems,
        "threads": threads,
    }
    given = {name: value for name, value in asked.items() if value}
    return BenchSettings.model_validate({"pack": pack, **sizes, **given})
