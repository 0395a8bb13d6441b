"""The packs known on this machine, as other programs are told of them."""

from __future__ import annotations

from typing import Any

from lorid_edge.errors import PackError
from lorid_edge.packs.store import PackStore


def describe_packs(store: PackStore, loaded: str | None) -> list[dict[str, Any]]:
    """Name, description, present and loaded of each pack; those that cannot be read are left out.

    Args:
        loaded: the name of the pack in memory; it is told of even if it is known only by its path.
    """
    entries = []
    for name in store.known():
        try:
            pack = store.find(name)
        except PackError:
            continue
        entries.append(
            {
                "name": pack.name,
                "description": pack.manifest.description,
                "present": pack.is_present,
                "loaded": pack.name == loaded,
            }
        )
    if loaded is not None and not any(entry["loaded"] for entry in entries):
        entries.append(
            {"name": loaded, "description": "by its path", "present": True, "loaded": True}
        )
    return entries
