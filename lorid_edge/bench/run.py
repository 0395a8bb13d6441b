"""A whole benchmark: what it will need, its parts one after the other, and its report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lorid_edge.bench.child import run_child
from lorid_edge.bench.conditions import Conditions, observe
from lorid_edge.bench.figures import Figure, Measurement, Part, Progress, collect
from lorid_edge.bench.settings import BenchSettings
from lorid_edge.bench.solving import load_settings
from lorid_edge.bench.speed import lane_settings, measured_adapter
from lorid_edge.bench.starting import measure_starts
from lorid_edge.engine.memory import available_bytes
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import MemoryShortageError
from lorid_edge.loading import LoadSettings, kv_bytes_per_token, required_bytes
from lorid_edge.packs.manifest import PackManifest
from lorid_edge.packs.store import PackStore, VerifiedPack
from lorid_edge.roles import Role


class BenchReport(BaseModel):
    """What `lorid-edge bench --json` prints.

    Attributes:
        complete: False if it was stopped before the end; figures may then rest on fewer runs.
        notes: what was not measured and why, and what to mind when reading.
        figures: in the order of `figures.KINDS`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    complete: bool
    settings: BenchSettings
    conditions: Conditions
    notes: tuple[str, ...]
    figures: tuple[Figure, ...]

    def to_json(self) -> str:
        """One line of JSON."""
        return self.model_dump_json(by_alias=True)


class Bench:
    """Measures a pack. Read `report` at any time: it tells what was measured so far."""

    def __init__(self, settings: BenchSettings, store: PackStore) -> None:
        """Check the pack's files and what is free; nothing is loaded.

        Raises:
            PackError: unknown, not fetched yet, or damaged.
            MemoryShortageError: too little memory is free.
        """
        self._settings, self._store = settings, store
        self._verified = store.open(store.find(settings.pack))
        self.needed_bytes = max(
            _needed_bytes(part, self._verified, settings) for part in settings.parts
        )
        _require_memory(self.needed_bytes)
        self.conditions = observe(self._verified.pack, settings.threads)
        self._measured: list[Measurement] = []
        self._is_complete = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What to mind when reading the figures."""
        return (*_warnings(self.conditions), *_gaps(self._verified.pack.manifest, self.conditions))

    @property
    def report(self) -> BenchReport:
        """What was measured so far."""
        return BenchReport(
            complete=self._is_complete,
            settings=self._settings,
            conditions=self.conditions,
            notes=self.notes,
            figures=tuple(collect(self._measured)),
        )

    def run(self) -> Iterator[Progress]:
        """Measure all parts. Raises LoridError: a measuring process failed."""
        for part in self._settings.parts:
            for one in self._measure(part):
                if isinstance(one, Progress):
                    yield one
                else:
                    self._measured.append(one)
        self._is_complete = True

    def _measure(self, part: Part) -> Iterator[Measurement | Progress]:
        home = self._store.places.home
        if part == "memory":
            return measure_starts(self._settings, home)
        return run_child(part, self._settings, home, home)


def _needed_bytes(part: Part, verified: VerifiedPack, settings: BenchSettings) -> int:
    """An estimate of the memory that a part takes at most, in bytes."""
    if part != "speed":
        return required_bytes(verified, load_settings(settings))
    threads = choose_threads(settings.threads).threads
    lane = lane_settings(settings, threads)
    lanes = 2 if measured_adapter(verified.pack.manifest) is None else 3
    kv_bytes = lanes * lane.cells * kv_bytes_per_token(verified.base)
    return required_bytes(verified, LoadSettings(width=1, threads=threads)) + kv_bytes


def _require_memory(needed_bytes: int) -> None:
    free_bytes = available_bytes()
    if free_bytes < needed_bytes:
        raise MemoryShortageError(
            f"This benchmark needs about {needed_bytes / 1e6:,.0f} MB of memory and "
            f"{free_bytes / 1e6:,.0f} MB are free. Close other programs, measure a smaller pack, "
            "or try --quick."
        )


def _warnings(conditions: Conditions) -> Iterator[str]:
    if conditions.busy_processes:
        names = ", ".join(f"{p.name} ({p.cpu_percent:.0f} %)" for p in conditions.busy_processes)
        yield (
            f"Other processes are busy: {names}, in percent of one CPU. The figures tell less "
            "about this machine than about its other work."
        )
    if conditions.governor == "powersave":
        yield "The CPU's frequency governor is powersave; speeds may be lower than they could be."


def _gaps(manifest: PackManifest, conditions: Conditions) -> Iterator[str]:
    bare = [role.value for role in Role if manifest.roles[role].adapter is None]
    chosen = measured_adapter(manifest)
    if chosen is None:
        yield (
            f"The pack {manifest.name} has no adapters: its roles run on the bare base, so there "
            "is nothing to measure with an adapter, and nothing to switch."
        )
    else:
        yield f"Measured with an adapter: that of {chosen.value}."
        if bare:
            yield f"Without an adapter in this pack: {', '.join(bare)}."
    yield f"Energy: {conditions.energy}."
