"""How many problems are solved at the same time, and from which weights, so that all fits."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

from lorid_edge.convert.unpacked import choose_weights
from lorid_edge.engine.memory import available_bytes
from lorid_edge.errors import MemoryShortageError, UsageError
from lorid_edge.loading import LoadSettings, required_bytes
from lorid_edge.packs.places import Places
from lorid_edge.packs.store import VerifiedPack

SAMPLES_AT_ONCE = 32
"""Samples of a role that are aimed at (docs/experiments.md, "How many at once")."""

FEWEST_PROBLEMS = 8
"""At any width: samples of one problem end together, those of several fill each other's gaps."""

logger = logging.getLogger("lorid_edge.evaluation")


def default_in_flight(width: int) -> int:
    """Problems at once where the user does not say how many; `width` samples a role and problem."""
    return max(FEWEST_PROBLEMS, SAMPLES_AT_ONCE // max(1, width))


def fitting(
    verified: VerifiedPack, settings: LoadSettings, memory_bytes: int | None
) -> LoadSettings:
    """The settings with as many problems in flight as fit, at most those asked for.

    Args:
        memory_bytes: what the pack and its KV cache may take; None for all that is free.

    Raises:
        MemoryShortageError: not even one problem at a time fits; nothing was loaded.
        UsageError: one problem at this width needs more sequences than llama.cpp allows.
    """
    free_bytes = available_bytes()
    bound_bytes = free_bytes if memory_bytes is None else min(memory_bytes, free_bytes)
    for in_flight in range(settings.in_flight, 0, -1):
        fewer = replace(settings, in_flight=in_flight)
        try:
            needed_bytes = required_bytes(verified, fewer)
        except UsageError:  # too many sequences
            if in_flight == 1:
                raise
            continue
        if needed_bytes <= bound_bytes:
            return fewer
    bound = f"{bound_bytes / 1e6:,.0f} MB " + (
        "are free" if bound_bytes == free_bytes else "are allowed by --memory"
    )
    narrower = " or use a smaller --width" if settings.width > 1 else ""
    raise MemoryShortageError(
        f"The pack {verified.pack.name} needs about {needed_bytes / 1e6:,.0f} MB of memory for one "
        f"problem at a time at width {settings.width}, and {bound}. Make more available{narrower}."
    )


def with_faster_weights(
    verified: VerifiedPack, settings: LoadSettings, memory_bytes: int | None, places: Places
) -> LoadSettings:
    """The settings with unpacked weights where those are faster on this machine and fit.

    The first time this makes a copy of the base; see `lorid_edge.convert.unpacked`. It is asked
    for all samples that may be decoded together.

    Raises what `choose_weights` raises.
    """
    pack = verified.pack
    samples = settings.width * settings.in_flight
    weights = choose_weights(
        pack.base_path, pack.manifest.base.sha256, samples, places, threads=settings.threads
    )
    logger.info("weights: %s", weights.reason)
    faster = replace(settings, weights=weights.file)
    bound_bytes = min(available_bytes(), memory_bytes or sys.maxsize)
    return faster if required_bytes(verified, faster) <= bound_bytes else settings
