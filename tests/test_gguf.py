"""The GGUF reader and the check of bases, on files that the reference writer made."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import (
    BASE_METADATA,
    BASE_TENSORS,
    TOKENS,
    write,
)

from lorid_edge.errors import ModelFileError
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import read_gguf
from lorid_edge.formats.gguf_types import TENSOR_TYPES


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    return write(tmp_path / "base.gguf", BASE_METADATA, BASE_TENSORS)


def test_reads_what_the_reference_writer_wrote(base_path: Path) -> None:
    file = check_base(base_path)

    assert (file.version, file.architecture) == (3, "qwen2")
    assert file.size_bytes == base_path.stat().st_size
    assert file.metadata["qwen2.block_count"] == 1
    assert file.metadata["qwen2.rope.freq_base"] == 10000.0
    assert file.metadata["tokenizer.ggml.add_bos_token"] is False
    tokens = file.metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == TOKENS
    assert list(tokens)[-2:] == ["t5", "Ġé"]
    assert list(file.metadata["tokenizer.ggml.token_type"]) == [1] * TOKENS
    assert file.metadata_types["tokenizer.ggml.token_type"] == "array[int32]"


def test_agrees_with_the_reference_reader_about_tensors(base_path: Path) -> None:
    reference = {tensor.name: tensor for tensor in gguf.GGUFReader(str(base_path)).tensors}

    tensors = read_gguf(base_path).tensors

    assert list(tensors) == list(reference)
    for name, tensor in tensors.items():
        assert tensor.shape == tuple(reference[name].shape)
        assert tensor.type == reference[name].tensor_type.name
        assert tensor.offset == reference[name].data_offset
        assert tensor.size_bytes == reference[name].n_bytes


def test_block_sizes_match_the_reference() -> None:
    reference = {
        kind.value: (kind.name, *sizes)
        for kind, sizes in gguf.GGML_QUANT_SIZES.items()
        if kind.name != "Q8_1"  # the reference still counts ggml's older layout of it
    }
    ours = {
        number: (kind.name, kind.block_elements, kind.block_bytes)
        for number, kind in TENSOR_TYPES.items()
        if kind.name != "Q8_1"
    }
    assert ours == reference


def test_quantized_tensors_have_their_size(tmp_path: Path) -> None:
    packed = gguf.quantize(np.ones((3, 64), np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer = gguf.GGUFWriter(str(tmp_path / "q.gguf"), arch="llama")
    writer.add_tensor("w", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    tensor = read_gguf(tmp_path / "q.gguf").tensors["w"]

    assert (tensor.shape, tensor.type, tensor.size_bytes) == ((64, 3), "Q8_0", 3 * 2 * 34)


def test_every_truncation_is_a_model_file_error(base_path: Path, tmp_path: Path) -> None:
    content = base_path.read_bytes()
    last = max(t.offset + t.size_bytes for t in read_gguf(base_path).tensors.values())
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, 700), *range(700, last, 97), last - 1]:
        cut.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            read_gguf(cut)


def test_a_truncated_file_says_how_long_it_should_be(base_path: Path, tmp_path: Path) -> None:
    last = max(t.offset + t.size_bytes for t in read_gguf(base_path).tensors.values())
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(base_path.read_bytes()[: last - 1])
    with pytest.raises(ModelFileError, match=rf"needs a file of {last} bytes, got {last - 1}"):
        read_gguf(cut)


def test_flipped_header_bytes_never_raise_anything_else(base_path: Path, tmp_path: Path) -> None:
    content = base_path.read_bytes()
    header_bytes = read_gguf(base_path).data_offset
    chance = random.Random(5)
    flipped = tmp_path / "flipped.gguf"
    refused = 0
    for _ in range(2000):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(header_bytes)] = chance.choice((0, 1, 127, 128, 255))
        flipped.write_bytes(damaged)
        try:
            file = check_base(flipped)
            for value in file.metadata.values():
                if not isinstance(value, bool | int | float | str):
                    list(value)
        except ModelFileError:
            refused += 1
    assert refused > 500


def header(tensors: int, metadata: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, metadata) + rest


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def tensor_entry(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


HUGE = 2**63
DAMAGES = {
    "no GGUF": (b"PK\x03\x04" + bytes(100), "not a GGUF file"),
    "empty": (b"", "empty"),
    "big endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big endian"),
    "version 1": (header(0, 0, version=1), "version 1 is not supported"),
    "huge tensor count": (header(HUGE, 0), "tensor count"),
    "huge metadata count": (header(0, HUGE), "metadata count"),
    "huge key": (header(0, 1, struct.pack("<Q", HUGE) + bytes(20)), "key of metadata 0"),
    "huge array": (
        header(0, 1, text("k") + struct.pack("<IIQ", 9, 0, HUGE)),
        "the array 'k' of 9223372036854775808 needs a file of",
    ),
    "huge array of strings": (
        header(0, 1, text("k") + struct.pack("<IIQ", 9, 8, HUGE)),
        "the array 'k'",
    ),
    "huge string in an array": (
        header(0, 1, text("k") + struct.pack("<IIQQ", 9, 8, 1, HUGE)),
        "the array 'k'",
    ),
    "nested array": (
        header(0, 1, text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(20)),
        "unsupported type 9",
    ),
    "unknown value type": (header(0, 1, text("k") + struct.pack("<IQ", 13, 0)), "unknown type 13"),
    "key twice": (
        header(0, 2, 2 * (text("key") + struct.pack("<IQ", 10, 1))),
        "the metadata key 'key' stands there twice",
    ),
    "key not UTF-8": (
        header(0, 1, struct.pack("<Q", 1) + b"\xff" + struct.pack("<IQ", 10, 1)),
        "not UTF-8",
    ),
    "odd alignment": (
        header(0, 1, text("general.alignment") + struct.pack("<II", 4, 24)),
        "power of two, got 24",
    ),
    "no dimensions": (header(1, 0, tensor_entry("w", (), 0, 0) + bytes(99)), "0 dimensions"),
    "five dimensions": (header(1, 0, tensor_entry("w", (1,) * 5, 0, 0) + bytes(99)), "5 dim"),
    "empty dimension": (header(1, 0, tensor_entry("w", (4, 0), 0, 0) + bytes(99)), "impossible"),
    "overflowing shape": (
        header(1, 0, tensor_entry("w", (2**40, 2**40), 0, 0) + bytes(99)),
        "impossible shape",
    ),
    "unknown tensor type": (
        header(1, 0, tensor_entry("w", (4,), 4, 0) + bytes(99)),
        "unknown type 4",
    ),
    "partial block": (header(1, 0, tensor_entry("w", (33,), 2, 0) + bytes(99)), "multiple of 32"),
    "unaligned": (header(1, 0, tensor_entry("w", (4,), 0, 8) + bytes(99)), "not aligned"),
    "outside": (header(1, 0, tensor_entry("w", (4,), 0, 3200) + bytes(99)), "truncated"),
    "overlap": (
        header(2, 0, tensor_entry("a", (16,), 0, 0) + tensor_entry("b", (4,), 0, 32) + bytes(299)),
        "'b' overlaps 'a'",
    ),
    "tensor twice": (
        header(2, 0, tensor_entry("a", (4,), 0, 0) + tensor_entry("a", (4,), 0, 32) + bytes(299)),
        "stands there twice",
    ),
    "long name": (
        header(1, 0, tensor_entry("w" * 64, (4,), 0, 0) + bytes(99)),
        "64 bytes, expected 1 to 63",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_refuses_damaged_files_and_names_the_field(damage: str, tmp_path: Path) -> None:
    content, message = DAMAGES[damage]
    path = tmp_path / "damaged.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ModelFileError, match=r"damaged\.gguf") as caught:
        read_gguf(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message in str(caught.value)
    assert peak_bytes < 2**20


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        read_gguf(tmp_path / "missing.gguf")
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_gguf(tmp_path)


def test_tokens_that_are_not_utf8_are_replaced(tmp_path: Path) -> None:
    array = struct.pack("<IIQ", 9, 8, 2) + struct.pack("<Q", 1) + b"\xff" + text("x")
    path = tmp_path / "tokens.gguf"
    path.write_bytes(header(0, 1, text("tokens") + array))
    assert list(read_gguf(path).metadata["tokens"]) == ["\ufffd", "x"]


def test_a_large_vocabulary_is_not_decoded_while_reading(tmp_path: Path) -> None:
    count = 200_000
    path = tmp_path / "vocabulary.gguf"
    array = struct.pack("<IIQ", 9, 8, count) + b"".join(text(f"token{n}") for n in range(count))
    path.write_bytes(header(0, 1, text("tokens") + array))
    tokens = read_gguf(path).metadata["tokens"]
    assert "_items" not in vars(tokens)
    assert tokens[count - 1] == f"token{count - 1}"


def changed(key: str, method: str | None, value: object = None) -> list[tuple[str, str, object]]:
    kept = [entry for entry in BASE_METADATA if entry[1] != key]
    return kept if method is None else [*kept, (method, key, value)]


UNUSABLE = {
    "architecture": (changed("general.architecture", None), "general.architecture is missing"),
    "tokenizer": (changed("tokenizer.ggml.model", None), "tokenizer.ggml.model is missing"),
    "tokens": (changed("tokenizer.ggml.tokens", "array", [1, 2]), "no array of strings"),
    "token count": (changed("tokenizer.ggml.tokens", "array", ["a"]), "for 1 tokens"),
    "scores": (changed("tokenizer.ggml.scores", "array", [1.0]), "scores has 1 items for 7"),
    "score type": (
        changed("tokenizer.ggml.scores", "array", ["x"] * TOKENS),
        "scores is array[string], expected array[float32]",
    ),
    "split": (changed("split.count", "uint16", 3), "one of 3 split files"),
    "adapter": (changed("general.type", "string", "adapter"), "this is a LoRA adapter"),
}


@pytest.mark.parametrize("reason", UNUSABLE)
def test_check_base_refuses_what_cannot_run(reason: str, tmp_path: Path) -> None:
    metadata, message = UNUSABLE[reason]
    path = write(tmp_path / "base.gguf", metadata, BASE_TENSORS)
    with pytest.raises(ModelFileError) as caught:
        check_base(path)
    assert message in str(caught.value)


def test_check_base_reports_all_problems_together(tmp_path: Path) -> None:
    path = write(tmp_path / "base.gguf", [("bool", "x", True)], {"w": np.ones(4, np.float32)})
    with pytest.raises(ModelFileError) as caught:
        check_base(path)
    for part in ("general.architecture", "token_embd.weight", "tokenizer.ggml.model"):
        assert part in str(caught.value)
