"""What the fuzz test and `scripts/fuzz_readers.py` share: readers, seeds, damages, the check."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.peft_config import CONFIG_NAME, read_config
from lorid_edge.errors import LoridError
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import MetadataArray, read_gguf
from lorid_edge.formats.safetensors import read_safetensors

ALLOWED_BYTES = 64 * 2**20
"""More than any of the seeds needs, even with its whole vocabulary decoded."""

_NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**31 - 1, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


def _read_base(path: Path) -> None:
    base = check_base(path)
    for value in base.metadata.values():
        if isinstance(value, MetadataArray):
            list(value)


def _read_adapter(path: Path) -> None:
    adapter = read_gguf_adapter(path)
    for weight in adapter.pairs:
        adapter.load(weight)


def _read_tensors(path: Path) -> None:
    file = read_safetensors(path)
    for name in file.tensors:
        file.load(name)


def _read_config(path: Path) -> None:
    path = path.replace(path.with_name(CONFIG_NAME))
    config = read_config(path.parent)
    for module in ("model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head"):
        config.is_targeted(module)
        config.scale(module, config.rank(module))


READERS: dict[str, Callable[[Path], None]] = {
    "base": _read_base,
    "adapter": _read_adapter,
    "safetensors": _read_tensors,
    "configuration": _read_config,
}


class Seeds(dict[str, list[bytes]]):
    """Sound files by reader; what hypothesis prints of them is short."""

    def __repr__(self) -> str:
        return f"Seeds of {', '.join(self)}"


def seeds(base: Path, adapter: Path, peft: Path) -> Seeds:
    """Files that are small enough to be damaged thousands of times."""
    contents = {
        "base": [_small_base(base)],
        "adapter": [adapter.read_bytes()],
        "safetensors": [(peft / "adapter_model.safetensors").read_bytes()],
        "configuration": [
            (peft / CONFIG_NAME).read_bytes(),
            b'{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ".*_proj", '
            b'"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"layers\\\\.1\\\\..*": 3}}',
        ],
    }
    return Seeds(contents)


def _small_base(base: Path) -> bytes:
    """A base whose header is that of a real one, but for most of its vocabulary and weights."""
    import io

    from random_base import small_tokenizer

    from lorid_edge.formats.gguf_writer import PlannedTensor, metadata_of, write_gguf

    metadata = {**metadata_of(read_gguf(base)), **small_tokenizer(base, 64)}
    table = PlannedTensor("token_embd.weight", (32, 64), "F32", lambda: [bytes(32 * 64 * 4)])
    file = io.BytesIO()
    write_gguf(file, metadata, [table])
    return file.getvalue()


def damage(original: bytes, choose: Callable[[int], int]) -> bytes:
    """Damage a file in one to four places; `choose(n)` gives a number below n."""
    content = bytearray(original)
    for _ in range(1 + choose(4)):
        if not content:
            break
        # Headers are where the danger is: most damages go to the first part.
        at = choose(min(len(content), 4096) if choose(4) else len(content))
        kind = choose(6)
        if kind == 0:
            content[at] = choose(256)
        elif kind == 1:
            content[at] ^= 1 << choose(8)
        elif kind == 2:
            content[at : at + 8] = struct.pack("<Q", _NUMBERS[choose(len(_NUMBERS))])
        elif kind == 3:
            content[at : at + 4] = struct.pack("<I", _NUMBERS[choose(len(_NUMBERS))] % 2**32)
        elif kind == 4:
            del content[at : at + 1 + choose(64)]
        else:
            source = choose(len(content))
            content[at:at] = content[source : source + 1 + choose(64)]
    return bytes(content[: choose(len(content)) + 1]) if choose(8) == 0 else bytes(content)


def check(reader: str, content: bytes, folder: Path) -> bool:
    """Read `content`: whether it was accepted.

    Raises AssertionError if reading took too much memory, and whatever a reader raises that is no
    LoridError.
    """
    path = folder / "damaged"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        READERS[reader](path)
        accepted = True
    except LoridError:
        accepted = False
    finally:
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak_bytes < ALLOWED_BYTES, f"{peak_bytes} bytes were allocated"
    return accepted
