"""`convert merge`: a base with an adapter added for good, as one GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.output import Progress, new_file, require_new, scratch_file
from lorid_edge.convert.quantize import number_of, run_quantizer
from lorid_edge.convert.recode import Recoding, write_recoded
from lorid_edge.errors import UsageError
from lorid_edge.formats.adapters import check_adapter
from lorid_edge.formats.base_model import check_base
from lorid_edge.packs.checksums import sha256_of

SAME = "same"
_DIRECT = {"f16": "F16", "q8_0": "Q8_0", "f32": "F32", SAME: None}


@dataclass(frozen=True)
class Merge:
    """What to merge.

    Attributes:
        quantization: same, F16, Q8_0, or a mixture of llama.cpp's quantizer such as Q4_K_M.
        scale: what the adapter is multiplied by.
        ignore_base_hash: merge even if the adapter was made for another base.
    """

    base: Path
    adapter: Path
    output: Path
    quantization: str = SAME
    scale: float = 1.0
    ignore_base_hash: bool = False
    force: bool = False


def merge(job: Merge, on_progress: Progress | None = None) -> None:
    """Add the adapter to the base's weights and write them with all metadata and the tokenizer.

    F16, Q8_0 and same are written directly. A mixture goes through a file beside the output, with
    the changed tensors in F16, for llama.cpp's quantizer; it copies what has its type already.

    Raises AdapterError if the adapter does not fit, ModelFileError for damaged files,
    ConversionError if the output cannot be written.
    """
    name = job.quantization.lower()
    if name not in _DIRECT:
        number_of(job.quantization)
    if not isfinite(job.scale):
        raise UsageError(f"The scale is {job.scale}; it has to be a finite number.")
    require_new(job.output, inputs=(job.base, job.adapter), force=job.force)
    base = check_base(job.base)
    base_sha256 = None if job.ignore_base_hash else sha256_of(job.base)
    check_adapter(job.adapter, base, base_sha256=base_sha256)
    adapter = read_gguf_adapter(job.adapter)
    if name in _DIRECT:
        recoding = Recoding(base, _DIRECT[name], adapter, job.scale)
        with new_file(
            job.output, force=job.force, needed_bytes=recoding.output_bytes()
        ) as temporary:
            write_recoded(recoding, temporary, on_progress)
        return
    recoding = Recoding(base, "F16", adapter, job.scale, only_changed=True)
    half = job.output.with_name(f"{job.output.name}.f16")
    needed_bytes = recoding.output_bytes()
    with (
        new_file(job.output, force=job.force, needed_bytes=2 * needed_bytes) as temporary,
        scratch_file(half, needed_bytes=needed_bytes) as scratch,
    ):
        write_recoded(recoding, scratch, on_progress)
        run_quantizer(scratch, temporary, job.quantization, on_progress, allow_requantize=True)
