"""`convert quantize`: llama.cpp's own quantizer, in a process of its own.

The quantizer works for minutes in native code and aborts on what it dislikes: as a child it can be
interrupted at any moment, and a crash of it is an error message.

    python -m lorid_edge.convert.quantize IN.gguf OUT.gguf Q4_K_M 2     what the child runs
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.child import module_command
from lorid_edge.convert.output import Progress, new_file, require_new
from lorid_edge.engine import native
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import ConversionError, UsageError
from lorid_edge.formats.base_model import check_base

QUANTIZATIONS = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q3_K_L": 13,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
    "BF16": 32,
}
"""What the quantizer makes without calibration data, and llama.cpp's numbers (`llama_ftype`)."""

BUFFER_BYTES = 2**28
"""Rows that the quantizer keeps in memory at once; its own default is 8 GiB."""

_TENSOR_LINE = re.compile(r"\[\s*(\d+)/\s*(\d+)\]\s*(\S+)")
_LINES_KEPT = 5
_FULL_DISK_BYTES = 2**20


@dataclass(frozen=True)
class Quantization:
    """What to quantize: `name` is one of `QUANTIZATIONS`, in either case.

    `allow_requantize` lets tensors that are packed already be packed again, with loss.
    """

    source: Path
    output: Path
    name: str
    allow_requantize: bool = False
    force: bool = False


def quantize(job: Quantization, on_progress: Progress | None = None) -> None:
    """Quantize a base.

    Raises ModelFileError for a damaged source, ConversionError if the quantizer fails or the
    output cannot be written, UsageError for an unknown name.
    """
    number_of(job.name)
    require_new(job.output, inputs=(job.source,), force=job.force)
    base = check_base(job.source)
    packed = sorted({t.type for t in base.tensors.values()} - {"F32", "F16", "BF16"})
    if packed and not job.allow_requantize:
        raise ConversionError(
            f"{job.source} is quantized already ({', '.join(packed)}), and quantizing again loses "
            "accuracy. Start from an F16 file, or say --allow-requantize."
        )
    with new_file(job.output, force=job.force, needed_bytes=base.size_bytes // 4) as temporary:
        run_quantizer(job.source, temporary, job.name, on_progress, job.allow_requantize)


def number_of(name: str) -> int:
    """llama.cpp's number of a quantization. Raises UsageError for an unknown name."""
    number = QUANTIZATIONS.get(name.upper())
    if number is None:
        raise UsageError(f"{name!r} is no quantization; known are {', '.join(QUANTIZATIONS)}.")
    return number


def run_quantizer(
    source: Path,
    target: Path,
    name: str,
    on_progress: Progress | None = None,
    allow_requantize: bool = False,
) -> None:
    """Let a child process write `target`; whoever is interrupted here kills it.

    Raises ConversionError with the quantizer's last words if it fails or crashes.
    """
    threads = choose_threads(None).threads
    arguments = [str(source), str(target), name, str(threads), str(int(allow_requantize))]
    child = subprocess.Popen(
        module_command("lorid_edge.convert.quantize", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the child
    )
    last: list[str] = []
    try:
        assert child.stdout is not None
        for line in child.stdout:
            match = _TENSOR_LINE.search(line)
            if match and on_progress is not None:
                on_progress(int(match[1]), int(match[2]), match[3].rstrip(","))
            last = [*last, line.strip()][-_LINES_KEPT:]
        status = child.wait()
    finally:
        child.kill()
        child.wait()
    if status != 0:
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        said = "; ".join(line for line in last if line and not _TENSOR_LINE.search(line))
        if shutil.disk_usage(target.parent).free < _FULL_DISK_BYTES:
            said = f"the disk is full; {said}"
        raise ConversionError(f"llama.cpp's quantizer failed on {source} ({how}): {said}")


def _quantize_here(
    source: str, target: str, name: str, threads: int, allow_requantize: bool
) -> int:
    """Run in the child: returns 0 if llama.cpp is content."""
    binding = native.load()
    logger = logging.getLogger("lorid_edge.llama")
    logger.setLevel(logging.DEBUG)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    parameters = binding.llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = number_of(name)
    parameters.allow_requantize = allow_requantize
    parameters.max_buf_size = BUFFER_BYTES
    return int(binding.llama_model_quantize(source.encode(), target.encode(), parameters))


if __name__ == "__main__":
    sys.exit(
        _quantize_here(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5] == "1")
    )
