"""`convert verify`: does a GGUF adapter do to the base what the PEFT adapter did?

The same tokens go through torch + PEFT on the unpacked base and through llama.cpp with the GGUF
adapter. What is compared are the logits at every position.

llama.cpp rounds activations to 8 bits wherever weights are packed, which moves logits by itself.
So by default it gets the base unpacked to float32, in a temporary file, and the comparison shows
conversion alone; with `as_shipped` it gets the base as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lorid_edge.convert.ggml import FloatArray
from lorid_edge.convert.native_logits import native_logits, tokenize
from lorid_edge.convert.output import Progress, require_free
from lorid_edge.convert.peft_adapter import read_peft
from lorid_edge.convert.recode import Recoding, write_recoded
from lorid_edge.convert.torch_logits import torch_logits
from lorid_edge.convert.verification_prompts import PROMPTS
from lorid_edge.errors import ConversionError
from lorid_edge.formats.adapters import check_adapter
from lorid_edge.formats.base_model import check_base

SMALLEST_POSITIONS, LARGEST_POSITIONS = 1, 4096
_LONGEST_PROMPT_TOKENS = 512


@dataclass(frozen=True)
class Tolerance:
    """When a conversion counts as right.

    Attributes:
        next_token_agreement: least share of positions with the same likeliest token.
        mean_divergence: largest mean Kullback-Leibler divergence of llama.cpp's distribution
            from torch's, in nats.
    """

    next_token_agreement: float = 0.99
    mean_divergence: float = 1e-3


@dataclass(frozen=True)
class Verification:
    """What to compare.

    Attributes:
        folder: the PEFT adapter, or None to compare bare bases.
        adapter: the GGUF adapter, or None where it is merged into `merged`.
        base: the base of both.
        merged: a model with the adapter merged, to be used by llama.cpp instead of base + adapter.
        positions: how many tokens are compared, at most.
        prompts: texts; those built in where there are none.
        as_shipped: run llama.cpp on the packed base.
    """

    folder: Path | None
    adapter: Path | None
    base: Path
    merged: Path | None = None
    positions: int = 512
    prompts: Sequence[str] = ()
    as_shipped: bool = False
    tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass(frozen=True)
class Comparison:
    """How far two runs of the same tokens are apart.

    Attributes:
        changed_by_adapter: share of positions whose likeliest token the adapter changes (torch).
        mean_divergence: mean Kullback-Leibler divergence in nats.
    """

    positions: int
    next_token_agreement: float
    mean_divergence: float
    largest_divergence: float
    largest_logit_difference: float
    mean_logit_difference: float
    changed_by_adapter: float
    is_within_tolerance: bool


def verify(job: Verification, on_progress: Progress | None = None) -> Comparison:
    """Run both sides and compare.

    Raises AdapterError or ModelFileError if the files do not fit, ConversionError if torch is
    missing or the temporary file cannot be written.
    """
    _check_files(job)
    texts = list(job.prompts) or list(PROMPTS)
    prompts = limited(tokenize(job.base, texts), job.positions)
    steps = 2 * len(prompts)
    done = 0

    def step(what: str) -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, steps, what)

    # llama.cpp before torch: torch's OpenMP would otherwise be loaded first and spin.
    native: list[FloatArray] = []
    with ExitStack() as stack:
        base = job.merged or job.base
        if not job.as_shipped:
            base = unpacked(base, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for logits in native_logits(base, prompts, job.adapter):
            native.append(logits)
            step("llama.cpp")
    reference, bare = [], []
    for logits, bare_logits in torch_logits(job.base, prompts, job.folder):
        reference.append(logits)
        bare.append(bare_logits.argmax(axis=1))
        step("torch")
    return compare(reference, native, bare, job.tolerance)


def compare(
    reference: Sequence[FloatArray],
    other: Sequence[FloatArray],
    bare_tokens: Sequence[npt.NDArray[np.intp]],
    tolerance: Tolerance,
) -> Comparison:
    """Compare logits, a (tokens, vocabulary) array for each prompt.

    `bare_tokens` are the likeliest tokens of the bare base, (tokens,) for each prompt.
    """
    divergences, differences, equal, changed = [], [], [], []
    largest = 0.0
    for expected, got, bare in zip(reference, other, bare_tokens, strict=True):
        difference = np.abs(expected - got)
        largest = max(largest, float(difference.max()))
        differences.append(difference.mean(axis=1))
        divergences.append(_divergence(expected, got))
        equal.append(expected.argmax(axis=1) == got.argmax(axis=1))
        changed.append(expected.argmax(axis=1) != bare)
    divergence = np.concatenate(divergences)
    agreement = float(np.concatenate(equal).mean())
    mean_divergence = float(divergence.mean())
    return Comparison(
        positions=len(divergence),
        next_token_agreement=agreement,
        mean_divergence=mean_divergence,
        largest_divergence=float(divergence.max()),
        largest_logit_difference=largest,
        mean_logit_difference=float(np.concatenate(differences).mean()),
        changed_by_adapter=float(np.concatenate(changed).mean()),
        is_within_tolerance=agreement >= tolerance.next_token_agreement
        and mean_divergence <= tolerance.mean_divergence,
    )


def _divergence(expected: FloatArray, got: FloatArray) -> npt.NDArray[np.float64]:
    """KL(expected || got) at each position, in nats."""
    p, q = _log_softmax(expected), _log_softmax(got)
    divergence: npt.NDArray[np.float64] = (np.exp(p) * (p - q)).sum(axis=1)
    return divergence


def _log_softmax(logits: FloatArray) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    log_probabilities: npt.NDArray[np.float64] = shifted - np.log(
        np.exp(shifted).sum(axis=1, keepdims=True)
    )
    return log_probabilities


def limited(prompts: list[list[int]], positions: int) -> list[list[int]]:
    """The first prompts, cut so that there are no more than `positions` tokens in all."""
    limited: list[list[int]] = []
    left = positions
    for prompt in prompts:
        part = prompt[: min(left, _LONGEST_PROMPT_TOKENS)]
        if part:
            limited.append(part)
        left -= len(part)
    return limited


def _check_files(job: Verification) -> None:
    base = check_base(job.base)
    if job.folder is not None:
        read_peft(job.folder, base)
    if job.merged is not None:
        check_base(job.merged)
    if job.adapter is not None:
        check_adapter(job.adapter, base)
    if not SMALLEST_POSITIONS <= job.positions <= LARGEST_POSITIONS:
        raise ConversionError(
            f"{job.positions} positions; expected {SMALLEST_POSITIONS} to {LARGEST_POSITIONS}."
        )


def unpacked(base: Path, folder: Path) -> Path:
    """The base with all matrices as float32, in `folder`."""
    recoding = Recoding(check_base(base), "F32")
    require_free(folder, recoding.output_bytes())
    target = folder / base.name
    write_recoded(recoding, target)
    return target
