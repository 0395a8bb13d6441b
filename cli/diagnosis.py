"""What this machine can run, what is broken, and the fix: the findings behind `doctor`.

Every check returns findings instead of raising, so that one broken thing does not hide another.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from importlib import metadata
from typing import Any

from lorid_edge.engine.memory import available_bytes
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import AdapterError, LoridError, ModelFileError
from lorid_edge.loading import LoadSettings, required_bytes
from lorid_edge.machine import processor_name
from lorid_edge.packs.places import is_offline
from lorid_edge.packs.store import Pack, PackStore, VerifiedPack

OLDEST_PYTHON = (3, 10)
ENOUGH_DISK_BYTES = 3 * 10**9

_NOTEWORTHY_FLAGS = (
    "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16",
    "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip


class State(str, Enum):
    """How a thing is."""

    OK = "ok"
    ABSENT = "absent"
    """Not here, and nothing is wrong with that."""
    WARNING = "warning"
    """It works, but worse than it could."""
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, how it is, and what to do about it."""

    name: str
    state: State
    text: str
    fix: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


def diagnose(store: PackStore) -> Iterator[Finding]:
    """Look at everything, the cheap things first."""
    yield _python()
    yield _processor()
    choice = choose_threads()
    yield Finding(
        "threads",
        State.OK,
        f"{choice.threads} ({choice.reason})",
        None,
        {"threads": choice.threads},
    )
    yield _memory()
    yield from _home(store)
    engine = _engine()
    yield engine
    if engine.state is State.OK:
        yield _spinning()
    here: list[VerifiedPack] = []
    for name in store.known():
        yield _pack(store, name, here.append)
    if engine.state is State.OK:
        yield _probe(here, store)


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.platform()}"
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("python", State.OK, text)
    return Finding("python", State.BROKEN, text, "install Python 3.10 or newer")


def _processor() -> Finding:
    from lorid_edge.engine.probe import cpu_flags

    known = set(cpu_flags().lower().split())
    flags = [flag for flag in _NOTEWORTHY_FLAGS if flag in known]
    model = processor_name()
    text = f"{model}; {' '.join(flags) or 'no flags known'}"
    return Finding("processor", State.OK, text, None, {"model": model, "flags": flags})


def _memory() -> Finding:
    import psutil

    total, free = int(psutil.virtual_memory().total), available_bytes()
    text = f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    return Finding("memory", State.OK, text, None, {"total_bytes": total, "free_bytes": free})


def _home(store: PackStore) -> Iterator[Finding]:
    home = store.places.home
    standing = next(folder for folder in (home, *home.parents) if folder.exists())
    fix = "make it writable, or set LORID_EDGE_HOME to another folder"
    text = str(home) if standing == home else f"{home} (made when needed)"
    try:
        with tempfile.TemporaryFile(dir=standing):
            yield Finding("home", State.OK, text)
    except OSError as error:
        reason = error.strerror or str(error)
        yield Finding("home", State.BROKEN, f"{text} cannot be written: {reason}", fix)
    free = shutil.disk_usage(standing).free
    details = {"free_bytes": free}
    text = f"{free / 1e9:.1f} GB free for packs"
    if free < ENOUGH_DISK_BYTES:
        advice = "free some space, or set LORID_EDGE_HOME to another disk"
        yield Finding("disk", State.WARNING, text, advice, details)
    else:
        yield Finding("disk", State.OK, text, None, details)
    if is_offline():
        yield Finding("network", State.OK, "not to be used: LORID_EDGE_OFFLINE is set")


def _engine() -> Finding:
    from lorid_edge.engine import native

    try:
        flags = native.build_flags()
        version = metadata.version("llama-cpp-python")
    except LoridError as error:
        return Finding("engine", State.BROKEN, str(error), "make rebuild")
    except metadata.PackageNotFoundError:
        return Finding("engine", State.BROKEN, "llama-cpp-python is not installed", "make setup")
    details = {"version": version, "library": native.library_path(), "build": flags}
    return Finding("engine", State.OK, f"llama-cpp-python {version}; {flags}", None, details)


def _spinning() -> Finding:
    """Loading the library has set the variable, unless the user or another library was first."""
    from lorid_edge.engine.native import SPIN_COUNT

    value = os.environ.get("GOMP_SPINCOUNT")
    if value == str(SPIN_COUNT):
        return Finding("spinning", State.OK, f"GOMP_SPINCOUNT={value}")
    return Finding(
        "spinning",
        State.WARNING,
        f"GOMP_SPINCOUNT={value}: decoding is slow beside other busy programs",
        "unset GOMP_SPINCOUNT",
    )


def _pack(store: PackStore, name: str, keep: Callable[[VerifiedPack], None]) -> Finding:
    label = f"pack {name}"
    try:
        pack = store.find(name)
        if not pack.base_path.exists():
            return _absent_pack(label, pack)
        verified = store.open(pack)
    except LoridError as error:
        return Finding(label, State.BROKEN, str(error), _fix_of(error, name))
    keep(verified)
    needed, free = required_bytes(verified, LoadSettings()), available_bytes()
    details = {"needed_bytes": needed, "fits": needed <= free}
    text = f"here and whole; needs about {needed / 1e9:.1f} GB of memory"
    if needed <= free:
        return Finding(label, State.OK, text, None, details)
    advice = "close other programs, use --low-memory or a smaller --width, or a smaller pack"
    return Finding(label, State.WARNING, f"{text}, too much now", advice, details)


def _fix_of(problem: LoridError, name: str) -> str:
    """Only a base can be fetched again; manifest and adapters are the pack's own."""
    if isinstance(problem, ModelFileError):
        return f"lorid-edge packs pull {name}"
    if isinstance(problem, AdapterError):
        return "put the right file there, or install the pack anew"
    return "correct what is named there"


def _absent_pack(label: str, pack: Pack) -> Finding:
    size = f"{pack.manifest.base.bytes / 1e6:,.0f} MB"
    return Finding(
        label, State.ABSENT, f"not fetched ({size})", f"lorid-edge packs pull {pack.reference}"
    )


def _probe(here: list[VerifiedPack], store: PackStore) -> Finding:
    """Decode with the smallest base that is here, in a child process; known results are reused."""
    from lorid_edge.engine.probe import probe

    if not here:
        fix = "lorid-edge packs pull tiny"
        return Finding("decoding", State.ABSENT, "not tried: no pack is here", fix)
    smallest = min(here, key=lambda verified: verified.pack.manifest.base.bytes)
    weight_types = {tensor.type for tensor in smallest.base.tensors.values()}
    try:
        outcome = probe(smallest.pack.base_path, weight_types, store.places.state)
    except LoridError as error:
        return Finding("decoding", State.BROKEN, str(error), "make rebuild")
    details = {"use_extra_buffers": outcome.use_extra_buffers, "was_cached": outcome.was_cached}
    text = f"{outcome.explanation} (tried with {smallest.pack.name})"
    if outcome.use_extra_buffers:
        return Finding("decoding", State.OK, text, None, details)
    fix = "make rebuild" if outcome.is_certain else "free some memory and try again"
    return Finding("decoding", State.WARNING, text, fix, details)
