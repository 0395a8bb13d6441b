"""`convert lora`: a PEFT adapter becomes a GGUF LoRA file for one base."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from lorid_edge.convert.lora_adapter import write_adapter
from lorid_edge.convert.output import Progress, require_new
from lorid_edge.convert.peft_adapter import PeftAdapter, read_peft, require_storable
from lorid_edge.convert.peft_folder import FILE_NAMES
from lorid_edge.errors import AdapterError
from lorid_edge.formats.adapter_card import AdapterCard
from lorid_edge.formats.adapters import AdapterInfo, check_adapter
from lorid_edge.formats.base_model import check_base
from lorid_edge.packs.checksums import sha256_of


@dataclass(frozen=True)
class LoraConversion:
    """What to convert.

    Attributes:
        type_name: f32, f16 or q8_0; rows that do not fill blocks of q8_0 are kept as f16.
        card: what the user says of the adapter; it goes before what the folder says.
        ignore_base_hash: convert even if the folder names another base.
    """

    folder: Path
    base: Path
    output: Path
    type_name: str = "f16"
    card: AdapterCard = field(default_factory=AdapterCard)
    ignore_base_hash: bool = False
    force: bool = False


def convert_lora(job: LoraConversion, on_progress: Progress | None = None) -> AdapterInfo:
    """Convert a PEFT adapter and return what the runtime reads back from the file.

    Raises AdapterError with all that is wrong with the adapter, ModelFileError for a damaged base,
    ConversionError if the output cannot be written.
    """
    read = [job.folder / name for name in FILE_NAMES]
    require_new(job.output, inputs=[*read, job.base], force=job.force)
    base = check_base(job.base)
    adapter = read_peft(job.folder, base)
    require_storable(adapter, job.type_name)
    base_sha256 = sha256_of(job.base)
    _require_same_base(adapter, base_sha256, job)
    said = job.card.model_dump(exclude_none=True)
    card = adapter.card.model_copy(update={**said, "base_sha256": base_sha256})
    adapter = replace(adapter, card=AdapterCard.model_validate(card.model_dump()))
    write_adapter(adapter, job.output, job.type_name, force=job.force, on_progress=on_progress)
    return check_adapter(job.output, base, base_sha256=base_sha256)


def _require_same_base(adapter: PeftAdapter, base_sha256: str, job: LoraConversion) -> None:
    claimed = adapter.card.base_sha256
    if claimed in (None, base_sha256) or job.ignore_base_hash:
        return
    raise AdapterError(
        f"{adapter.path}: trained on the base with SHA-256 {claimed}, but {job.base} has "
        f"{base_sha256}. Give its own base, or --ignore-base-hash: the adapter may then be worse "
        "than none."
    )
