"""Weights that are in memory once for all solvers of this process, and freed with the last."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.engine.model import Model

_Key = tuple[str, bool]


@dataclass
class _Entry:
    model: Model
    users: int


_lock = threading.Lock()
_entries: dict[_Key, _Entry] = {}


def borrow(path: Path, sha256: str, *, use_extra_buffers: bool) -> Model:
    """The model with the weights of `sha256`, loaded from `path` unless it is in memory.

    To be given back with `give_back`, never closed. Raises what `Model` raises.
    """
    key = sha256, use_extra_buffers
    with _lock:
        entry = _entries.get(key)
        if entry is None:
            entry = _entries[key] = _Entry(Model(path, use_extra_buffers=use_extra_buffers), 0)
        entry.users += 1
        return entry.model


def give_back(model: Model) -> None:
    """End one use of a borrowed model; the last one frees it. Its contexts have to be closed."""
    with _lock:
        key = next(key for key, entry in _entries.items() if entry.model is model)
        _entries[key].users -= 1
        if _entries[key].users == 0:
            del _entries[key]
            model.close()


def is_loaded(sha256: str) -> bool:
    """Whether the weights of `sha256` are in memory already."""
    with _lock:
        return any(known == sha256 for known, _ in _entries)
