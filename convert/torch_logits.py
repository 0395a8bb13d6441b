"""Logits of whole prompts from torch and PEFT, on the base's own weights, unpacked.

transformers reads the GGUF file with its own code, so nothing of the converters or of llama.cpp
takes part. Needs the extra `train`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lorid_edge.convert.ggml import FloatArray
from lorid_edge.errors import AdapterError, ConversionError

INSTALL = "pip install 'lorid-edge[train]'"


def torch_logits(
    base: Path, prompts: Sequence[Sequence[int]], adapter: Path | None
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """For each prompt its logits, (tokens, vocabulary), under the PEFT adapter and without it.

    All in float32; if there is no adapter, both are the same.

    Raises ConversionError if torch, transformers or peft is missing or cannot read the base,
    AdapterError if PEFT cannot load the adapter.
    """
    torch, model = _load(base, adapter)
    with torch.inference_mode():
        for prompt in prompts:
            tokens = torch.tensor([list(prompt)])
            logits = model(input_ids=tokens).logits[0].float().numpy()
            if adapter is None:
                yield logits, logits
                continue
            with model.disable_adapter():
                yield logits, model(input_ids=tokens).logits[0].float().numpy()


def _load(base: Path, adapter: Path | None) -> tuple[Any, Any]:
    try:
        import peft
        import torch
        import transformers
    except ImportError as error:
        raise ConversionError(
            f"{error.name} is missing, which the comparison needs; install it: {INSTALL}"
        ) from error
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # Both libraries draw bars and warn on stderr, whatever they are told.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                str(base.parent), gguf_file=base.name, dtype=torch.float32, local_files_only=True
            )
        except Exception as error:  # transformers raises many kinds for files it cannot read
            raise ConversionError(f"transformers cannot read {base}: {error}") from error
        if adapter is not None:
            try:
                model = peft.PeftModel.from_pretrained(model, str(adapter))
            except Exception as error:
                raise AdapterError(f"PEFT cannot load {adapter}: {error}") from error
    return torch, model.eval()
