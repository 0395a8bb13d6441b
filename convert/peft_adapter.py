"""A PEFT adapter as the pairs of one base.

Every tensor is accounted for before anything is written: what is missing, extra, misshapen, no
finite number, or belongs to a module that llama.cpp cannot adapt is reported together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lorid_edge.convert.architectures import Architecture
from lorid_edge.convert.ggml import F16_LARGEST, FloatArray
from lorid_edge.convert.lora_adapter import PairInfo
from lorid_edge.convert.peft_folder import PeftFolder, StoredPair, listed, scan_folder
from lorid_edge.errors import AdapterError
from lorid_edge.formats.adapter_card import AdapterCard
from lorid_edge.formats.adapters import EMBEDDING_SUFFIX, OUTPUT_WEIGHT
from lorid_edge.formats.gguf import GgufFile


@dataclass(frozen=True)
class PeftAdapter:
    """A `LoraAdapter` read from a PEFT folder."""

    path: Path
    architecture: str
    card: AdapterCard
    pairs: dict[str, PairInfo]
    _layout: Architecture = field(repr=False)
    _folder: PeftFolder = field(repr=False)
    _modules: dict[str, str] = field(repr=False)

    def load(self, weight: str) -> tuple[FloatArray, FloatArray]:
        """A (rank, inputs) and B (outputs, rank), rows in GGUF's order."""
        module = self._modules[weight]
        a, b = self._folder.load(module)
        if self._folder.pairs[module].is_embedding:
            a, b = b.T, a.T
        return a, self._layout.in_gguf_order(weight, b)


def read_peft(path: Path, base: GgufFile) -> PeftAdapter:
    """Read and check the adapter in the folder `path` for `base`.

    Raises AdapterError with all problems, or ModelFileError if a file is damaged.
    """
    folder = scan_folder(path)
    layout = Architecture.of(base)
    problems = list(folder.problems)
    modules: dict[str, str] = {}
    pairs: dict[str, PairInfo] = {}
    for module, stored in folder.pairs.items():
        weight = layout.weight_of(module)
        if weight is None:
            problems.append(f"{module}: llama.cpp adapts no such module in {layout.name}")
        elif weight in modules:
            problems.append(f"{module}: a second adapter for {weight}")
        else:
            modules[weight] = module
            found = list(_misfits(folder, stored, weight, layout, base))
            problems += found
            if not found:
                pairs[weight] = _pair_info(folder, stored, weight, base)
    problems += _target_problems(folder, layout)
    if problems:
        raise AdapterError(
            f"{folder.file.path} does not fit the base {base.path}:{listed(problems)}"
        )
    ordered = {weight: pairs[weight] for weight in base.tensors if weight in pairs}
    return PeftAdapter(path, layout.name, folder.card, ordered, layout, folder, modules)


def require_storable(adapter: PeftAdapter, type_name: str) -> None:
    """Read all values once.

    Raises AdapterError naming every tensor with NaN or infinity, or if one is too large for the
    type.
    """
    largest, problems = 0.0, []
    for weight, pair in adapter.pairs.items():
        try:
            a, b = adapter.load(weight)
        except AdapterError as error:
            problems.append(str(error))
            continue
        top = max(float(np.abs(b).max()) * max(1.0, pair.scale), float(np.abs(a).max()))
        largest = max(largest, top)
    if problems:
        raise AdapterError(f"{adapter.path}: the training went wrong:{listed(problems)}")
    if type_name.upper() != "F32" and largest > F16_LARGEST:
        raise AdapterError(
            f"{adapter.path}: a value of {largest:g} is too large for {type_name.lower()} "
            f"(at most {F16_LARGEST:g}); convert with --type f32"
        )


def _pair_info(folder: PeftFolder, stored: StoredPair, weight: str, base: GgufFile) -> PairInfo:
    inputs, outputs = base.tensors[weight].shape
    scale = folder.config.scale(stored.module, stored.rank)
    return PairInfo(weight, inputs, outputs, stored.rank, scale)


def _misfits(
    folder: PeftFolder, stored: StoredPair, weight: str, layout: Architecture, base: GgufFile
) -> Iterator[str]:
    module = stored.module
    if weight in (OUTPUT_WEIGHT, EMBEDDING_SUFFIX) and OUTPUT_WEIGHT not in base.tensors:
        yield f"{module}: the base uses its embeddings as output too; neither can be adapted"
        return
    if weight not in base.tensors:
        yield f"{module}: the base has no {weight}"
        return
    if stored.is_embedding != weight.endswith(EMBEDDING_SUFFIX):
        yield f"{stored.a.name}: lora_embedding_A and _B belong to embeddings, and only there"
        return
    inputs, outputs = base.tensors[weight].shape[:2]
    problem = layout.row_problem(weight, outputs)
    if problem is not None:
        yield f"{stored.b.name}: {problem}"
    if stored.is_embedding:
        inputs, outputs = outputs, inputs
    rank = folder.config.rank(module)
    for tensor, expected in ((stored.a, (rank, inputs)), (stored.b, (outputs, rank))):
        if tensor.shape != expected:
            yield f"{tensor.name}: shape {list(tensor.shape)}, expected {list(expected)}"


def _target_problems(folder: PeftFolder, layout: Architecture) -> Iterator[str]:
    """Modules that the configuration targets and the file lacks, and the other way round."""
    config = folder.config
    present = {layout.weight_of(module) for module in folder.pairs}
    for module in (*layout.linear_modules(), "lm_head", "model.embed_tokens"):
        if config.is_targeted(module) and layout.weight_of(module) not in present:
            yield f"{module}: targeted by the configuration, but not complete in the file"
    for module in folder.pairs:
        if layout.weight_of(module) is not None and not config.is_targeted(module):
            yield f"{module}: in the file, but no target of the configuration"
