"""What changing adapters in one context costs, as `--low-memory` does it."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorid_edge.bench.figures import Measurement
from lorid_edge.engine.lane import Lane, LaneSettings
from lorid_edge.engine.model import BARE, AdapterKey
from lorid_edge.engine.native import AbortFlag
from lorid_edge.engine.sequence import GenerationRequest
from lorid_edge.loading import LoadedPack
from lorid_edge.roles import Role

_ANY_TOKEN = 0


@dataclass(frozen=True)
class _Switch:
    """Seconds that one change of adapter took, by its steps."""

    switch: float
    restore: float
    first_step: float
    later_step: float


class Switching:
    """One context that changes adapters, as with `--low-memory`."""

    def __init__(self, loaded: LoadedPack) -> None:
        prompts, keys = loaded.workplace.prompts, loaded.workplace.keys
        # The roles in the order in which a problem asks them; where they share one adapter, the
        # bare base takes turns with it.
        self._turns = {keys[role]: prompts.fixed(role) for role in Role}
        if len(self._turns) == 1:
            self._turns[BARE] = next(iter(self._turns.values()))
        longest = max(map(len, self._turns.values()))
        settings = LaneSettings(
            sequence_tokens=longest + 64,
            sequences=2,
            threads=loaded.threads.threads,
        )
        self._lane = Lane(loaded.model, settings, AbortFlag())

    def run(self) -> Iterator[Measurement]:
        """A change to each adapter; the means over them."""
        switches = [self._switch(key, fixed) for key, fixed in self._turns.items()]
        yield _mean("switch", [switch.switch for switch in switches])
        yield _mean("switch_restore", [switch.restore for switch in switches])
        yield _mean("switch_first_step", [switch.first_step for switch in switches])
        yield _mean("switch_later_step", [switch.later_step for switch in switches])

    def close(self) -> None:
        self._lane.close()

    def _switch(self, key: AdapterKey, fixed: tuple[int, ...]) -> _Switch:
        lane = self._lane
        times = [time.perf_counter()]
        lane.switch(key)
        times.append(time.perf_counter())
        lane.hold_fixed(fixed)
        times.append(time.perf_counter())
        request = GenerationRequest((*fixed, _ANY_TOKEN), 1, 0, hold_tokens=len(fixed), key=key)
        for ticket in range(2):
            lane.submit(ticket, request)  # ends with its only token
            lane.step()
            times.append(time.perf_counter())
        return _Switch(*(after - before for before, after in itertools.pairwise(times)))


def _mean(name: str, seconds: Sequence[float]) -> Measurement:
    return Measurement(name, 1e3 * statistics.mean(seconds))
