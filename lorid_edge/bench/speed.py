"""The part `speed`: reading and writing with and without adapters, switching, sampling.

Within a run, the cases alternate, and each run begins with another one, so that a machine that
slows down meanwhile slows them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from lorid_edge.bench.decoding import (
    PREFILL_TOKENS,
    PROMPT,
    reading_tokens_per_second,
    writing_tokens_per_second,
)
from lorid_edge.bench.figures import BARE_BASE, Measurement, Progress, run_name
from lorid_edge.bench.settings import BenchSettings
from lorid_edge.bench.switching import Switching
from lorid_edge.bench.timed_lane import TimedLane
from lorid_edge.engine.engine import Engine, EngineSettings
from lorid_edge.engine.lane import LaneSettings
from lorid_edge.engine.model import BARE, AdapterKey
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.loading import LoadedPack, LoadSettings, load_pack
from lorid_edge.packs.manifest import PackManifest
from lorid_edge.packs.store import PackStore, VerifiedPack
from lorid_edge.roles import Role

Case = tuple[str, AdapterKey]
"""What decodes: the role whose adapter is in force, or `BARE_BASE`; and its key."""


def lane_settings(settings: BenchSettings, threads: int) -> LaneSettings:
    """A lane with room for the most sequences that are measured."""
    return LaneSettings(
        sequence_tokens=256 + PREFILL_TOKENS + settings.steps,  # the first for PROMPT
        sequences=max(settings.sequences),
        threads=threads,
    )


def measured_adapter(manifest: PackManifest) -> Role | None:
    """The role whose adapter stands for all: the first that has one."""
    return next((role for role in Role if manifest.roles[role].adapter is not None), None)


def measure_speed(
    verified: VerifiedPack, settings: BenchSettings, store: PackStore
) -> Iterator[Measurement | Progress]:
    """All figures of the part, run by run. Raises what loading and decoding raise."""
    loaded = load_pack(verified, LoadSettings(width=1, threads=settings.threads), store)
    with closing(loaded), closing(_SpeedBench(loaded, settings)) as bench:
        for run in range(settings.runs + 1):
            yield Progress("speed", run, settings.runs + 1, run_name(run, settings.runs))
            for measurement in bench.run(run):
                if run > 0:
                    yield measurement


class _SpeedBench:
    """The contexts that are measured, all on the weights of one loaded pack."""

    def __init__(self, loaded: LoadedPack, settings: BenchSettings) -> None:
        self._loaded, self._settings = loaded, settings
        self._prompt = tuple(loaded.model.tokenize(PROMPT, special=False))
        chosen = loaded.workplace.manifest.sampling
        self._sampling = SamplingSettings(chosen.temperature, chosen.top_k, chosen.top_p)
        self._lane_settings = lane_settings(settings, loaded.threads.threads)
        self._engine = Engine(loaded.model, EngineSettings(self._lane_settings))
        self._cases: list[Case] = [(BARE_BASE, BARE)]
        role = measured_adapter(loaded.workplace.manifest)
        if role is not None:
            self._cases.append((role.value, loaded.workplace.keys[role]))
        for _, key in self._cases:
            self._engine.prepare(key, [])
        self._switching = Switching(loaded) if role is not None else None

    def run(self, number: int) -> Iterator[Measurement]:
        """Every figure once."""
        for sequences in self._settings.sequences:
            yield from self._rates(number, "prefill", sequences, self._prefill)
            yield from self._rates(number, "decode", sequences, self._decode)
        if self._switching is not None:
            yield from self._switching.run()
        yield from self._sampling_cost()

    def close(self) -> None:
        self._engine.close()
        if self._switching is not None:
            self._switching.close()

    def _rates(
        self,
        number: int,
        name: str,
        sequences: int,
        measure: Callable[[int, int, AdapterKey], float],
    ) -> Iterator[Measurement]:
        """One speed in all cases and, with an adapter, its ratio to the bare base's."""
        speeds = {}
        for adapter, key in self._cases if number % 2 else self._cases[::-1]:
            speeds[adapter] = measure(number, sequences, key)
        for adapter, _ in self._cases:
            labels = (("sequences", sequences), ("adapter", adapter))
            yield Measurement(name, speeds[adapter], labels)
            if adapter != BARE_BASE:
                yield Measurement(f"{name}_ratio", speeds[adapter] / speeds[BARE_BASE], labels)

    def _prefill(self, number: int, sequences: int, key: AdapterKey) -> float:
        size = self._loaded.model.vocabulary_size
        return reading_tokens_per_second(self._engine, size, sequences, number, key=key)

    def _decode(self, _: int, sequences: int, key: AdapterKey) -> float:
        return writing_tokens_per_second(
            self._engine,
            self._prompt,
            sequences,
            self._settings.steps,
            key=key,
            sampling=self._sampling,
        )

    def _sampling_cost(self) -> Iterator[Measurement]:
        """Sampling against decoding, with the most sequences, on the bare base."""
        lane = TimedLane(self._loaded.model, self._lane_settings, self._sampling)
        try:
            most = max(self._settings.sequences)
            cost = lane.measure(self._prompt, most, self._settings.steps)
        finally:
            lane.close()
        labels = (("sequences", most),)
        yield Measurement("decode_step", 1e3 * cost.decode_seconds, labels)
        yield Measurement("sampling", 1e3 * cost.sampling_seconds, labels)
        share = cost.sampling_seconds / cost.decode_seconds
        yield Measurement("sampling_share", 100 * share, labels)
