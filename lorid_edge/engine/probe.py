"""Does this build of llama.cpp survive a decode on this machine?

A library built by a compiler that drops the AMX tile configuration crashes at the first decode on
a CPU with AMX (ggml-org/llama.cpp#20824). Without repacked weights (`use_extra_bufts=False`) the
same library runs, slower. A child process finds out; its result is kept for this library, these
CPU flags and these weight types, so that it is paid for once.

    python -m lorid_edge.engine.probe BASE.gguf 1     decodes once, with repacked weights
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.child import module_command
from lorid_edge.engine import native
from lorid_edge.errors import EngineError

logger = logging.getLogger("lorid_edge.probe")

PROBE_TOKENS = 40
"""Enough tokens for the matrix kernels of prompts; one more for those of single tokens."""

TIMEOUT_SECONDS = 300.0

_CRASH_SIGNALS = {
    getattr(signal, name, None) for name in ("SIGSEGV", "SIGILL", "SIGBUS", "SIGABRT", "SIGFPE")
}

_WINDOWS_EXCEPTIONS = 0xC0000000
"""From here on, an exit code on Windows is the exception that ended the process."""


class _UndecidedError(Exception):
    """A child ended in a way that says nothing about the CPU, as for want of memory or time."""


@dataclass(frozen=True)
class ProbeResult:
    """What the probe found: whether repacked weights are safe, and a sentence for people.

    Attributes:
        is_certain: False if no child came to its end, so that the build may be well.
    """

    use_extra_buffers: bool
    explanation: str
    was_cached: bool = False
    is_certain: bool = True


def probe(base: Path, weight_types: Iterable[str], state_folder: Path) -> ProbeResult:
    """Decode a few tokens of `base` in a child process, or recall how that went.

    Args:
        base: a checked GGUF base.
        weight_types: the tensor types in it; kernels differ by type.
        state_folder: where results are kept.

    Raises:
        EngineError: the library crashes with and without repacked weights.
    """
    record = state_folder / "probe.json"
    key = _key(weight_types)
    known = _read(record).get(key)
    if known is not None:
        return ProbeResult(
            bool(known["use_extra_buffers"]), str(known["explanation"]), was_cached=True
        )
    try:
        result = _run(base)
    except _UndecidedError as undecided:
        result = ProbeResult(
            False,
            f"the decode that tries repacked weights came to no end ({undecided}); they are off "
            "this time, which is slower, and are tried again with the next start",
            is_certain=False,
        )
        logger.warning("%s", result.explanation)
        return result
    _write(record, key, result)
    if not result.use_extra_buffers:
        logger.warning("%s", result.explanation)
    return result


def _run(base: Path) -> ProbeResult:
    repacked = _crash_of_child(base, use_extra_buffers=True)
    if repacked is None:
        return ProbeResult(True, "a decode with repacked weights works")
    try:
        plain = _crash_of_child(base, use_extra_buffers=False)
    except _UndecidedError as undecided:  # it might crash as well: nothing is to be remembered
        raise _UndecidedError(f"{repacked}; the one without: {undecided}") from None
    if plain is not None:
        raise EngineError(
            f"llama.cpp crashes on this machine at the first decode ({repacked}; without repacked "
            f"weights: {plain}). It was built for another CPU or by a broken compiler: rebuild it "
            "here with 'make rebuild'."
        )
    return ProbeResult(
        False,
        f"llama.cpp crashes at the first decode with repacked weights ({repacked}), so they are "
        "off, which is slower. Rebuild it with 'make rebuild' (on x86 with AMX and GCC: "
        "-fno-tree-dse -fno-dse).",
    )


def _crash_of_child(base: Path, *, use_extra_buffers: bool) -> str | None:
    """None if a child decodes, else how it ended."""
    command = module_command(__name__, str(base), str(int(use_extra_buffers)))
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            start_new_session=True,  # a Ctrl-C must not look like a crash
        )
    except subprocess.TimeoutExpired:
        raise _UndecidedError(f"no result in {TIMEOUT_SECONDS:.0f} s") from None
    code = child.returncode
    if code == 0:
        return None
    if code >= _WINDOWS_EXCEPTIONS:
        return f"exception {code:#x}"
    if -code in _CRASH_SIGNALS:
        return f"signal {-code}"
    if code < 0:
        raise _UndecidedError(f"killed by signal {-code}")
    last = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    raise _UndecidedError(" ".join([f"exit code {code}", *last]))


def _key(weight_types: Iterable[str]) -> str:
    library = native.library_hash()
    machine = hashlib.sha256(cpu_flags().encode()).hexdigest()[:16]
    return f"{library}-{machine}-{'+'.join(sorted(set(weight_types)))}"


def cpu_flags() -> str:
    """The CPU's feature flags where the system tells them, else its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return f"{platform.machine()} {platform.processor()}"


def _read(record: Path) -> dict[str, dict[str, str | bool]]:
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}  # an unreadable cache only costs another probe
    return content if isinstance(content, dict) else {}


def _write(record: Path, key: str, result: ProbeResult) -> None:
    entry = {"use_extra_buffers": result.use_extra_buffers, "explanation": result.explanation}
    content = {**_read(record), key: entry}
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=record.parent, delete=False) as file:
            json.dump(content, file, indent=1)
        Path(file.name).replace(record)
    except OSError as error:
        logger.debug("the probe's result could not be kept: %s", error)


def _decode_once(base: Path, use_extra_buffers: bool) -> None:
    from lorid_edge.engine.lane import Lane, LaneSettings
    from lorid_edge.engine.model import Model
    from lorid_edge.engine.sequence import GenerationRequest

    model = Model(base, use_extra_buffers=use_extra_buffers)
    settings = LaneSettings(sequence_tokens=256, sequences=2, threads=2)
    lane = Lane(model, settings, native.AbortFlag())
    prompt = tuple(range(PROBE_TOKENS))
    request = GenerationRequest(prompt, max_tokens=2, seed=0, hold_tokens=PROBE_TOKENS - 1)
    lane.submit(0, request)
    while lane.has_work:
        lane.step()
    lane.close()
    model.close()


if __name__ == "__main__":
    _decode_once(Path(sys.argv[1]), sys.argv[2] == "1")
