"""What is compared: each side opens a pack and solves blocks of problems in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from our_side import OurSide
from peer_loop import PeerLoop, RolePlay, SolvedProblem
from side_settings import SideSettings

from lorid_edge.packs.store import Pack, PackStore

OURS, OURS_ALONE = "ours", "ours-one-at-a-time"
ON_OUR_ENGINE = "authors-on-our-engine"
PEERS = ("llama-server", "llama", "transformers", "authors", ON_OUR_ENGINE)


class Side(Protocol):
    """One way to solve problems."""

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        """Solve a block of problems, and return what came of each, in their order."""

    def conditions(self) -> dict[str, Any]:
        """What it ran with, for the report."""

    def close(self) -> None:
        """Free everything; no process is left behind."""


def open_side(name: str, settings: SideSettings) -> Side:
    """Load the pack for the side of that name."""
    if name == OURS:
        weights = None if settings.weights is None else Path(settings.weights)
        return OurSide(settings, settings.width, settings.in_flight, weights)
    if name == OURS_ALONE:
        return OurSide(settings, width=1, in_flight=1, weights=None)
    pack = PackStore().find(Path(settings.pack))
    if name == "llama-server":
        from llama_server_peer import LlamaServerSide

        return LlamaServerSide(pack, settings)
    if name == "llama":
        from llama_peer import LlamaGenerator

        return OneAtATime(pack, settings, LlamaGenerator)
    if name == "transformers":
        from torch_peer import PeftGenerator

        return OneAtATime(pack, settings, PeftGenerator)
    if name == "authors":
        from authors_peer import AuthorsSide

        return AuthorsSide(pack, settings)
    if name == ON_OUR_ENGINE:
        from authors_peer import AuthorsOnOurEngine

        return AuthorsOnOurEngine(settings)
    raise ValueError(f"There is no side {name!r}.")


class OneAtATime:
    """A peer that works on one problem at a time."""

    def __init__(self, pack: Pack, settings: SideSettings, make_generator: Any) -> None:
        self._settings = settings
        self._play = RolePlay(pack)
        self._generator = make_generator(pack, self._play, settings)
        self._loop = PeerLoop(self._play, self._generator)

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        return [self._loop.solve(q, self._settings.peer_policy(), seed) for q in questions]

    def conditions(self) -> dict[str, Any]:
        return {"width": self._settings.peer_width, **self._generator.conditions()}

    def close(self) -> None:
        self._generator.close()
        self._play.close()
