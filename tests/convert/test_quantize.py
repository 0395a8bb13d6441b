"""llama.cpp's quantizer behind our command: what it makes, and what becomes of its failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorid_edge.convert.quantize import Quantization, quantize, run_quantizer
from lorid_edge.errors import ConversionError, ModelFileError, UsageError
from lorid_edge.formats.base_model import check_base


def test_quantizes_and_reports_progress(base: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int, str]] = []
    quantize(
        Quantization(base, tmp_path / "q.gguf", "q8_0"),
        lambda done, total, what: heard.append((done, total, what)),
    )
    made = check_base(tmp_path / "q.gguf")
    assert made.tensors["blk.0.attn_q.weight"].type == "Q8_0"
    assert made.metadata["general.file_type"] == 7
    assert heard[-1][0] == heard[-1][1] == len(made.tensors)
    assert heard[0][2] in made.tensors


def test_quantizing_again_has_to_be_asked_for(base: Path, tmp_path: Path) -> None:
    quantize(Quantization(base, tmp_path / "q8.gguf", "Q8_0"))
    with pytest.raises(ConversionError, match=r"is quantized already \(Q8_0\)"):
        quantize(Quantization(tmp_path / "q8.gguf", tmp_path / "q4.gguf", "Q4_0"))
    job = Quantization(tmp_path / "q8.gguf", tmp_path / "q4.gguf", "Q4_0", allow_requantize=True)
    quantize(job)
    assert check_base(tmp_path / "q4.gguf").tensors["blk.0.attn_q.weight"].type == "Q4_0"


def test_bad_input_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'Q9' is no quantization"):
        quantize(Quantization(base, tmp_path / "q.gguf", "Q9"))
    with pytest.raises(ModelFileError, match="this is a LoRA adapter"):
        quantize(Quantization(adapter, tmp_path / "q.gguf", "Q8_0"))
    with pytest.raises(ModelFileError, match="no such file"):
        quantize(Quantization(tmp_path / "none.gguf", tmp_path / "q.gguf", "Q8_0"))
    with pytest.raises(ConversionError, match="would replace its own input"):
        quantize(Quantization(base, base, "Q8_0", force=True))
    assert not list(tmp_path.iterdir())


def test_a_failure_of_the_quantizer_is_a_message(tmp_path: Path) -> None:
    """Its source vanishes: the child ends by itself, and nobody sees a traceback."""
    with pytest.raises(ConversionError, match=r"quantizer failed on .* \(exit code 1\)"):
        run_quantizer(tmp_path / "gone.gguf", tmp_path / "q.gguf", "Q8_0")
