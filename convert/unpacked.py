"""A copy of a base in a type that this CPU multiplies faster, for many samples at once.

One sample at a time is bound by reading the weights, so that packed ones are best. Many at once are
bound by arithmetic: where the CPU multiplies bfloat16, unpacked weights can be twice as fast, and
float16 is faster by a third or more with AVX2 alone, at thrice the memory. AMX multiplies blocks of
8 bits, nearly three times as fast as what small is packed in (docs/experiments.md). The weights are
the same up to one rounding (8 and 11 bits of mantissa, or 8 bits of the largest in 32); beside 16
bits, activations are rounded less than beside packed weights.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.convert.output import Progress, new_file
from lorid_edge.convert.quantize import run_quantizer
from lorid_edge.engine import native
from lorid_edge.engine.memory import available_bytes
from lorid_edge.engine.pace import tokens_per_second
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import ConversionError
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import GgufFile
from lorid_edge.loading import weights_identity
from lorid_edge.packs.download import file_lock
from lorid_edge.packs.places import Places

MANY_SAMPLES = 8
"""From so many samples at once on, unpacked weights are worth a thought."""

LEAST_GAIN = 1.15
"""How much faster the copy has to be to be kept."""

_PACED_SAMPLES = (16, 32)
"""What is timed: 16 samples at once where no more are asked for, otherwise 32. One CPU gains 1.1
times from 16 samples and 1.4 from 32 (docs/experiments.md)."""

_ENGINE = 2
"""To be raised when the engine decodes so differently that copies should be timed again."""

_BYTES_PER_WEIGHT = {"BF16": 2.0, "F16": 2.0, "Q8_0": 34 / 32}
_SPARE = 1.2


@dataclass(frozen=True)
class Weights:
    """What to decode with: the file of an unpacked copy, or None for the base; and why."""

    file: Path | None
    reason: str

    def identity(self, sha256: str) -> str:
        """What tells these weights from others: the base's hash, and which copy of it."""
        return weights_identity(sha256, self.file)


def choose_weights(
    base: Path,
    sha256: str,
    samples: int,
    places: Places,
    *,
    threads: int | None = None,
    on_progress: Progress | None = None,
) -> Weights:
    """Choose between a base and an unpacked copy of it, for `samples` decoded at once.

    The first time on a machine the copy is made and both are timed, which takes up to a minute;
    what came out is remembered with the copy. A copy that does not pay is deleted.

    Args:
        base: a GGUF file that is known to have this hash.

    Raises:
        ModelFileError: `base` is damaged.
        EngineError: llama.cpp cannot load it.
    """
    if samples < MANY_SAMPLES:
        return Weights(None, f"fewer than {MANY_SAMPLES} samples at once")
    unpacked_type = fast_type()
    if unpacked_type is None:
        return Weights(
            None, "this CPU or this build of llama.cpp is not fast with unpacked weights"
        )
    copy = places.unpacked(sha256, base.name, unpacked_type)
    gains, paced = _known_gains(copy), _paced_samples(samples)
    if paced not in gains:
        size_bytes = _copy_bytes(check_base(base), unpacked_type)
        if shortage := _shortage(size_bytes, places.home):
            return Weights(None, shortage)
        try:
            with file_lock(sha256, places):  # another first run would use and delete the same copy
                gains = _known_gains(copy)
                if paced not in gains:
                    if not (gains and copy.is_file()):
                        _make(base, copy, unpacked_type, on_progress)
                    check_base(copy)
                    gains[paced] = _measure_gain(base, copy, paced, choose_threads(threads).threads)
                    _settle(copy, gains)
        except (ConversionError, OSError) as error:
            return Weights(None, str(error))
    gain = gains[paced]
    if gain < LEAST_GAIN:
        return Weights(None, f"unpacked weights are {gain:.2f} times as fast, which is too little")
    check_base(copy)
    return Weights(copy, f"unpacked weights ({unpacked_type}) are {gain:.1f} times as fast here")


def weight_types(path: Path) -> set[str]:
    """The types of the tensors in a file of weights. Raises ModelFileError if it is damaged."""
    return {tensor.type for tensor in check_base(path).tensors.values()}


def fast_type() -> str | None:
    """The type that this build of llama.cpp multiplies in bulk with instructions of this CPU.

    Q8_0 with AMX, BF16 with AVX512_BF16, F16 where the CPU widens and multiplies it (F16C, FMA);
    None elsewhere, where nothing was measured.
    """
    told = native.build_flags()
    if native.uses_amx():
        return "Q8_0"
    if "AVX512_BF16 = 1" in told:
        return "BF16"
    is_there = all(f"{name} = 1" in told for name in ("F16C", "FMA", "LLAMAFILE"))
    return "F16" if is_there else None


def _shortage(size_bytes: int, home: Path) -> str:
    """Why there is no room for a copy; "" if there is."""
    folder = next(parent for parent in (home, *home.parents) if parent.exists())
    needed = _SPARE * size_bytes
    if shutil.disk_usage(folder).free < needed:
        return f"no {needed / 1e6:,.0f} MB are free on the disk for unpacked weights"
    if available_bytes() < needed:
        return f"no {needed / 1e6:,.0f} MB of memory are free for unpacked weights"
    return ""


def _copy_bytes(base: GgufFile, unpacked_type: str) -> int:
    weights = sum(math.prod(tensor.shape) for tensor in base.tensors.values())
    return int(weights * _BYTES_PER_WEIGHT[unpacked_type])


def _make(base: Path, copy: Path, unpacked_type: str, on_progress: Progress | None) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    with new_file(copy, force=True) as temporary:
        run_quantizer(base, temporary, unpacked_type, on_progress, allow_requantize=True)


def _paced_samples(samples: int) -> int:
    return next((paced for paced in _PACED_SAMPLES if samples <= paced), _PACED_SAMPLES[-1])


def _measure_gain(base: Path, copy: Path, samples: int, threads: int) -> float:
    """Tokens per second with the copy, as a ratio to the base."""
    packed = tokens_per_second(base, samples, threads)
    return tokens_per_second(copy, samples, threads) / packed


def _settle(copy: Path, gains: dict[int, float]) -> None:
    """Keep the copy only if it pays, and remember what it gains."""
    if max(gains.values()) < LEAST_GAIN:
        copy.unlink(missing_ok=True)
    with new_file(_note(copy), force=True) as temporary:
        note = {"library": native.library_hash(), "engine": _ENGINE, "gains": gains}
        temporary.write_text(json.dumps(note), "utf-8")


def _known_gains(copy: Path) -> dict[int, float]:
    """What was measured before with this llama.cpp and engine, by the number of samples.

    Empty where nothing was, or where a copy that pays is no longer there and has to be made again.
    """
    try:
        content = json.loads(_note(copy).read_text("utf-8"))
        gains = {int(paced): float(gain) for paced, gain in content["gains"].items()}
        measured_with = content["library"], content["engine"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    is_there = copy.is_file() or max(gains.values(), default=LEAST_GAIN) < LEAST_GAIN
    return gains if measured_with == (native.library_hash(), _ENGINE) and is_there else {}


def _note(copy: Path) -> Path:
    return copy.with_suffix(".json")
