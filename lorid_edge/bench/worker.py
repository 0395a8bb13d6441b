"""The process that measures one thing, and is started for it by `child`.

    python -m lorid_edge.bench.worker TASK SETTINGS HOME STATE

It writes a JSON object a line: measurements, progress, or the error that ended it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from lorid_edge.bench.energy import find_energy_source
from lorid_edge.bench.figures import Measurement, Progress
from lorid_edge.bench.settings import BenchSettings
from lorid_edge.bench.solving import measure_policies
from lorid_edge.bench.speed import measure_speed
from lorid_edge.bench.starting import measure_one_start
from lorid_edge.errors import LoridError
from lorid_edge.packs.store import PackStore
from lorid_edge.parent import end_with_parent


def _measure(
    task: str, settings: BenchSettings, home: Path, state: Path
) -> Iterator[Measurement | Progress]:
    store = PackStore(home)
    verified = store.open(store.find(settings.pack))
    if task == "start":
        return measure_one_start(verified, settings, PackStore(state))
    if task == "policies":
        return measure_policies(verified, settings, store, find_energy_source())
    return measure_speed(verified, settings, store)


def main(task: str, settings: str, home: str, state: str) -> None:
    """Measure and write what comes of it."""
    end_with_parent()
    try:
        asked = BenchSettings.model_validate_json(settings)
        for one in _measure(task, asked, Path(home), Path(state)):
            print(json.dumps(asdict(one)), flush=True)
    except LoridError as error:
        print(json.dumps({"error": str(error)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
