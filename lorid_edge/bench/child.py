"""Starts a process for each thing that is measured, so that nothing is left from what came before.

The process (`worker`) is not in the terminal's process group: Ctrl-C reaches only the one that
started it, which kills it and tells what was measured so far.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal

from lorid_edge.bench.figures import Measurement, Progress
from lorid_edge.bench.settings import BenchSettings
from lorid_edge.child import module_command
from lorid_edge.errors import LoridError

WORKER = "lorid_edge.bench.worker"

Task = Literal["speed", "policies", "start"]


def run_child(
    task: Task, settings: BenchSettings, home: Path, state: Path
) -> Generator[Measurement | Progress, None, None]:
    """Do a task in a child and yield what it measures; closing the iterator kills the child.

    Args:
        home: where packs are kept.
        state: a home whose `state` folder remembers evaluated prompts; `home` for the user's own.

    Raises:
        LoridError: the child failed or crashed.
    """
    arguments = [task, settings.model_dump_json(), str(home), str(state)]
    with subprocess.Popen(
        module_command(WORKER, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                yield _read(json.loads(line))
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        raise LoridError(
            f"The process that measures '{task}' ended with exit code {child.returncode}. "
            "Run 'lorid-edge doctor'; LORID_EDGE_DEBUG=1 shows more."
        )


def _read(record: dict[str, Any]) -> Measurement | Progress:
    if "error" in record:
        raise LoridError(record["error"])
    if "labels" in record:
        labels = tuple((name, value) for name, value in record["labels"])
        return Measurement(record["name"], record["value"], labels)
    return Progress(**record)
