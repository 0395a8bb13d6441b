"""What runs on each machine of a Ray cluster: a pack, opened once, that solves batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorid_edge import __version__
from lorid_edge.errors import LoridError, UsageError
from lorid_edge.evaluation.run_description import RunIdentity
from lorid_edge.loading import LoadSettings
from lorid_edge.problems import FileProblem
from lorid_edge.solver import Solver, SolveSettings

if TYPE_CHECKING:
    from lorid_edge.evaluation.solving import LocalEngine


@dataclass(frozen=True)
class WorkerSettings:
    """What every worker of a run needs.

    Attributes:
        pack: name, or a folder that lies at this path on each machine.
        greedy: as the run was planned.
        memory_bytes: that a worker may take; None for its share of what is free on its machine.
        version: of lorid-edge, which has to be the same everywhere.
    """

    pack: str | Path
    greedy: bool
    identity: RunIdentity
    load: LoadSettings
    solving: SolveSettings
    memory_bytes: int | None
    version: str = __version__


class Worker:
    """The actor. It is made at once; `open` loads the pack.

    Args:
        neighbours: workers on the same machine, itself among them; they share its memory.
    """

    def __init__(self, settings: WorkerSettings, neighbours: int) -> None:
        self._settings = settings
        self._neighbours = neighbours
        self._engine: LocalEngine | None = None

    def open(self) -> None:
        """Load the pack.

        Raises:
            UsageError: lorid-edge or the pack is another on this machine.
            LoridError: what opening a pack raises, with the machine's name.
        """
        import platform

        from lorid_edge.evaluation.solving import LocalEngine

        settings = self._settings
        try:
            solver = _load(settings, self._neighbours)
        except LoridError as error:
            raise type(error)(f"On {platform.node()}: {error}") from None
        self._engine = LocalEngine(solver, settings.identity, settings.solving)

    def solve(self, problems: list[FileProblem]) -> Iterator[str]:
        """Yield the JSON of each solution."""
        assert self._engine is not None
        for solution in self._engine.solve(problems):
            yield solution.to_json()


def _load(settings: WorkerSettings, neighbours: int) -> Solver:
    from lorid_edge.engine.memory import available_bytes
    from lorid_edge.evaluation.evaluate import pack_identity
    from lorid_edge.evaluation.in_flight import fitting
    from lorid_edge.evaluation.variants import load_solver, open_variant
    from lorid_edge.packs.store import PackStore

    expected = settings.identity.pack
    if settings.version != __version__:
        raise UsageError(
            f"lorid-edge is {__version__} here and {settings.version} where the run was started; "
            "install the same version."
        )
    store = PackStore()
    verified = open_variant(store, settings.pack, bare=expected.bare, greedy=settings.greedy)
    if pack_identity(verified, expected.bare) != expected:
        raise UsageError(
            f"the pack {settings.pack} is another here than where the run was started; "
            "give all machines the same files."
        )
    share_bytes = available_bytes() // neighbours
    bound_bytes = min(share_bytes, settings.memory_bytes or share_bytes)
    return load_solver(verified, fitting(verified, settings.load, bound_bytes), store)
