"""Checkpoints of a training run: all that it takes to go on as if nothing had happened.

Each is a folder `checkpoint-STEP` with tensors (safetensors) and numbers (JSON). It is written
under another name and renamed when it is on the disk, and only then are older ones removed, so that
a kill or a full disk at any moment leaves the last good one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lorid_edge.errors import TrainingError

SCHEMA = 1
_PREFIX = "checkpoint-"
_NAME = re.compile(rf"{_PREFIX}\d{{8}}")
_TENSORS = "state.safetensors"
_NUMBERS = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """The state after a step.

    Attributes:
        step: optimizer steps done; it fixes learning rate and position in the data.
        tokens: that passed so far.
        identity: what the run depends on; a run with another one does not go on from here.
        tensors: adapters, moments of the optimizer, states of random generators.
    """

    step: int
    tokens: int
    identity: dict[str, Any]
    tensors: dict[str, torch.Tensor]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write it into `folder` and remove older ones.

    Raises TrainingError if the disk is full or the folder cannot be written to; what was there
    before is still there then.
    """
    path = folder / f"{_PREFIX}{checkpoint.step:08d}"
    partial = folder / f".{path.name}.partial"
    older = [other for other in _checkpoints(folder) if other != path]
    numbers = {key: value for key, value in vars(checkpoint).items() if key != "tensors"}
    try:
        for killed in folder.glob(f".{_PREFIX}*.partial"):
            shutil.rmtree(killed, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(checkpoint.tensors, partial / _TENSORS)
        text = json.dumps({"schema": SCHEMA, **numbers}, indent=1)
        (partial / _NUMBERS).write_text(text, "utf-8")
        for file in (partial / _TENSORS, partial / _NUMBERS, partial):
            flush_to_disk(file)
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
        flush_to_disk(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        kept = f"{older[-1].name} is kept" if older else "there is no earlier one"
        raise TrainingError(
            f"{path}: the checkpoint cannot be written ({error}); {kept}. Free some space and run "
            "it again."
        ) from error
    for other in older:
        shutil.rmtree(other, ignore_errors=True)


def read_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """The latest checkpoint in `folder`; None if there is none.

    Raises TrainingError if it is damaged, or is one of a run with another identity.
    """
    found = _checkpoints(folder)
    if not found:
        return None
    path = found[-1]
    try:
        numbers = json.loads((path / _NUMBERS).read_text("utf-8"))
        if not isinstance(numbers, dict) or numbers.pop("schema", None) != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA}")
        tensors = load_file(path / _TENSORS)
        checkpoint = Checkpoint(tensors=tensors, **numbers)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise TrainingError(
            f"{path}: damaged ({error}). Remove it to go on from an earlier one or from the start."
        ) from error
    problems = list(_differences(checkpoint.identity, identity))
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise TrainingError(
            f"{path} belongs to another run:{lines}\nUse another run folder, or remove this one."
        )
    return checkpoint


def flush_to_disk(path: Path) -> None:
    """Renaming what is still on its way to the disk could leave nothing after a crash."""
    if path.is_dir() and os.name == "nt":
        return  # Windows flushes no folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def generator_states() -> dict[str, torch.Tensor]:
    """States of torch's random generators, as tensors of bytes."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def restore_generators(tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `generator_states` gave."""
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])


def _checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key, now in new.items():  # what only the old one has, an earlier version compared
        before = old.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, f"{path}{key}.")
        elif before != now:
            yield f"{path}{key}: was {before!r}, is {now!r}"
