"""A pack as it is measured: as it is, without its adapters, or greedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lorid_edge.loading import LoadSettings, load_pack
from lorid_edge.packs.manifest import Sampling
from lorid_edge.packs.store import PackStore, VerifiedPack
from lorid_edge.roles import Role
from lorid_edge.solver import Solver


def open_variant(
    store: PackStore, name: str | Path, *, bare: bool = False, greedy: bool = False
) -> VerifiedPack:
    """Check a pack's files and change what is asked for.

    Args:
        name: of the pack, or its folder.
        bare: leave the adapters out, so that all roles run on the base.
        greedy: take the likeliest token instead of the pack's own sampling.

    Raises:
        PackError, ModelFileError, AdapterError: as `PackStore.find` and `PackStore.open`.
    """
    verified = store.open(store.find(name))
    manifest = verified.pack.manifest
    if greedy:
        manifest = manifest.model_copy(update={"sampling": Sampling(temperature=0.0)})
    if bare:
        roles = {
            role.value: manifest.roles[role].model_copy(update={"adapter": None}) for role in Role
        }
        manifest = manifest.model_copy(update={"roles": manifest.roles.model_copy(update=roles)})
    return replace(verified, pack=replace(verified.pack, manifest=manifest))


def load_solver(verified: VerifiedPack, settings: LoadSettings, store: PackStore) -> Solver:
    """Load a checked pack. Raises what `lorid_edge.loading.load_pack` raises."""
    return Solver(load_pack(verified, settings, store), settings.width, settings.in_flight)
