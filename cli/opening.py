"""From a pack's name to a loaded solver: find, fetch with consent, load."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lorid_edge.errors import LoridError, MemoryShortageError, PackError

from . import background, fetching, streams

if TYPE_CHECKING:
    from lorid_edge.loading import LoadSettings
    from lorid_edge.packs.store import Pack, PackStore
    from lorid_edge.solver import Solver

LARGER_PACK, SMALLER_PACK = "standard", "small"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Opening:
    """Which pack to load and how.

    Attributes:
        may_fetch: fetch without asking.
        may_substitute: offer a smaller pack where memory is short.
    """

    pack: str
    settings: LoadSettings
    may_fetch: bool = False
    may_substitute: bool = True


def open_solver(opening: Opening) -> Solver:
    """Load the pack, after fetching what it lacks. Raises what `Solver.open` and a pull raise."""
    from lorid_edge.packs.store import PackStore

    store = PackStore()
    pack = store.find(opening.pack)
    if not pack.is_present:
        fetch_with_consent(store, pack, opening.may_fetch)
    try:
        return _load(store, pack, opening.settings)
    except MemoryShortageError as shortage:
        if not opening.may_substitute or pack.name != LARGER_PACK or not streams.can_ask():
            raise
        streams.note(str(shortage))
        if not streams.confirm(f"Use the pack {SMALLER_PACK} this time?"):
            raise LoridError(f"Stopped; --pack {SMALLER_PACK} needs less memory.") from None
    smaller = Opening(SMALLER_PACK, opening.settings, opening.may_fetch, may_substitute=False)
    return open_solver(smaller)


def fetch_with_consent(store: PackStore, pack: Pack, may_fetch: bool) -> None:
    """Say what is missing; ask if someone is there, else fetch at once."""
    from lorid_edge.packs.places import is_offline

    # Offline nothing is fetched but local copies; the store says what is missing.
    if not is_offline():
        streams.note(fetching.announcement(pack))
        if not may_fetch and streams.can_ask() and not streams.confirm("Fetch it now?"):
            raise PackError(
                f"The pack {pack.name} cannot be used without its base; "
                f"to fetch it: lorid-edge packs pull {pack.reference}"
            )
    fetching.fetch(store, pack)


def load_in_background(name: str, load: Callable[[], Result]) -> Result:
    """Load the pack called `name` so that Ctrl-C works meanwhile; on a terminal, something moves.

    Raises what `load` raises.
    """
    return wait_for(f"loading {name} (the first time takes longer)", load)


def wait_for(what: str, work: Callable[[], Result]) -> Result:
    """Do `work` so that Ctrl-C works meanwhile; on a terminal, something moves. Raises as it does.

    Args:
        what: is being done, for people.
    """
    if not streams.can_animate(sys.stderr):
        return background.value(work)
    from . import render

    with render.waiting(what):
        return background.value(work)


def _load(store: PackStore, pack: Pack, settings: LoadSettings) -> Solver:
    from lorid_edge.solver import Solver

    return load_in_background(
        pack.name, lambda: Solver.open(pack.reference, settings=settings, store=store)
    )
