"""The frozen base: a GGUF file, unpacked, or a Hugging Face folder, as a transformers model."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lorid_edge.errors import TrainingError
from lorid_edge.packs.checksums import sha256_of
from lorid_edge.train.settings import TrainingSettings

_CHUNK_BYTES = 2**22


def load_base(path: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The base as a causal language model in `dtype` on `device`, its weights frozen.

    Args:
        path: a GGUF file of any quantization, whose weights become dense, or a Hugging Face folder.

    Raises TrainingError if transformers cannot read it.
    """
    import transformers

    source: dict[str, Any] = {"local_files_only": True, "dtype": dtype}
    if path.is_file():
        source["gguf_file"] = path.name
        if hasattr(transformers, "GgufConfig"):  # else dense is all that transformers can do
            source["quantization_config"] = transformers.GgufConfig(dequantize=True)
    elif not (path / "config.json").is_file():
        raise TrainingError(f"{path}: expected a GGUF file or a Hugging Face folder (config.json).")
    folder = path.parent if path.is_file() else path
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # transformers draws bars and warns on stderr, whatever it is told.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(str(folder), **source)
        except Exception as error:  # transformers raises many kinds for files it cannot read
            raise TrainingError(f"transformers cannot read the base {path}: {error}") from error
    model.requires_grad_(False)
    return model.to(device).eval()


def choose_device(settings: TrainingSettings) -> torch.device:
    """The device that the settings ask for.

    Raises TrainingError, before anything is loaded, if they demand a GPU and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not has_gpu:
        raise TrainingError(
            'The recipe demands a GPU (device = "cuda"), and torch finds none. Use a recipe for '
            'the CPU or device = "auto", or install torch with CUDA where there is a GPU.'
        )
    return torch.device("cuda" if has_gpu and settings.device != "cpu" else "cpu")


def choose_dtype(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    """What the settings say; for "auto" bfloat16 where the device has instructions for it."""
    if settings.dtype != "auto":
        return torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
    return native_dtype(device)


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has instructions for it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # What the processor can do, not a measurement: a run that goes on must choose the same again.
    has_instructions = any(
        getattr(torch.cpu, name, bool)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return torch.bfloat16 if has_instructions else torch.float32


def base_sha256(path: Path) -> str:
    """The hash of a GGUF file, or of the configuration and weights of a Hugging Face folder."""
    if path.is_file():
        return sha256_of(path)
    digest = hashlib.sha256()
    for file in sorted(_parts(path)):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _parts(folder: Path) -> Iterator[Path]:
    yield from folder.glob("config.json")
    yield from folder.glob("*.safetensors")
