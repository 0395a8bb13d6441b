"""`convert truncate`: an adapter of a lower rank, as near to the old one as that rank allows.

By Eckart and Young the nearest matrix of rank k keeps the k largest singular values. Those of
B . A are those of the small product of the triangular factors of B and of A transposed, so the
full product is never formed: with rank r the work grows with (inputs + outputs) * r^2.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lorid_edge.convert.ggml import FloatArray
from lorid_edge.convert.gguf_adapter import read_gguf_adapter
from lorid_edge.convert.lora_adapter import PairInfo, write_adapter
from lorid_edge.convert.output import Progress, new_folder, require_new
from lorid_edge.convert.peft_config import CONFIG_NAME
from lorid_edge.convert.peft_folder import FILE_NAMES, WEIGHTS_NAME, PeftFolder, listed, scan_folder
from lorid_edge.errors import AdapterError, UsageError
from lorid_edge.formats.adapter_card import CARD_NAME, AdapterCard
from lorid_edge.formats.safetensors import write_safetensors


@dataclass(frozen=True)
class Truncation:
    """What to truncate, and how far.

    Attributes:
        source: a GGUF adapter or a PEFT folder; the output is of the same kind.
        rank: the rank to keep, or None.
        energy: the share of the squared singular values to keep, above 0 to 1, or None.
        overall: measure singular values over all weights together, so that weights which the
            adapter changes more get more; `rank` is then the mean. Else each weight by itself.
        type_name: f32, f16 or q8_0 for a GGUF output.
    """

    source: Path
    output: Path
    rank: int | None = None
    energy: float | None = None
    overall: bool = False
    type_name: str = "f16"
    force: bool = False

    def __post_init__(self) -> None:
        if (self.rank is None) == (self.energy is None):
            raise UsageError("Say either --rank or --energy.")
        if self.rank is not None and self.rank < 1:
            raise UsageError(f"--rank is {self.rank}; it has to be 1 or more.")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise UsageError(f"--energy is {self.energy}; it has to be above 0 and at most 1.")


@dataclass(frozen=True)
class TruncatedPair:
    """What became of one weight.

    Attributes:
        energy_kept: share of the squared singular values.
        relative_error: Frobenius norm of what was lost over that of the whole.
    """

    name: str
    old_rank: int
    rank: int
    energy_kept: float
    relative_error: float


@dataclass(frozen=True)
class TruncationReport:
    """All weights, and both measures over all of them together."""

    pairs: tuple[TruncatedPair, ...]
    energy_kept: float
    relative_error: float


@dataclass(frozen=True)
class Decomposition:
    """U (outputs, r), the singular values (r,) in falling order, V (r, inputs) of scale * B . A."""

    u: FloatArray
    singular_values: npt.NDArray[np.float64]
    v: FloatArray

    def factors(self, rank: int) -> tuple[FloatArray, FloatArray]:
        """A (rank, inputs) and B (outputs, rank) of the nearest product, with scale 1."""
        root = np.sqrt(self.singular_values[:rank]).astype(np.float32)
        return root[:, None] * self.v[:rank], self.u[:, :rank] * root


def decompose(a: FloatArray, b: FloatArray, scale: float) -> Decomposition:
    """The singular value decomposition of scale * b @ a, in float64, by its factors alone."""
    q_b, r_b = np.linalg.qr(b.astype(np.float64))
    q_a, r_a = np.linalg.qr(a.T.astype(np.float64))
    u, values, v = np.linalg.svd(scale * (r_b @ r_a.T), full_matrices=False)
    return Decomposition((q_b @ u).astype(np.float32), values, (v @ q_a.T).astype(np.float32))


def truncate(job: Truncation, on_progress: Progress | None = None) -> TruncationReport:
    """Truncate and report what was kept. About as much memory as the adapter takes as float32.

    Raises AdapterError or ModelFileError for an unsound source, ConversionError if the output
    cannot be written.
    """
    is_folder = job.source.is_dir()
    require_new(
        job.output,
        inputs=[job.source / name for name in FILE_NAMES] if is_folder else [job.source],
        force=job.force,
        names=FILE_NAMES if is_folder else None,
    )
    if is_folder:
        folder = scan_folder(job.source)
        if folder.problems:
            raise AdapterError(f"{folder.file.path}:{listed(folder.problems)}")
        scales = {name: folder.config.scale(name, pair.rank) for name, pair in folder.pairs.items()}
        decomposed = dict(_decompose_all(scales, folder.load, on_progress))
        ranks = choose_ranks({n: d.singular_values for n, d in decomposed.items()}, job)
        _write_peft(job, folder, decomposed, ranks)
    else:
        adapter = read_gguf_adapter(job.source)
        scales = {name: pair.scale for name, pair in adapter.pairs.items()}
        decomposed = dict(_decompose_all(scales, adapter.load, on_progress))
        ranks = choose_ranks({n: d.singular_values for n, d in decomposed.items()}, job)
        pairs = {
            name: replace(pair, rank=ranks[name], scale=1.0) for name, pair in adapter.pairs.items()
        }
        truncated = _TruncatedAdapter(
            adapter.path, adapter.architecture, adapter.card, pairs, decomposed
        )
        write_adapter(truncated, job.output, job.type_name, force=job.force)
    return _report(decomposed, ranks)


def choose_ranks(spectra: dict[str, npt.NDArray[np.float64]], job: Truncation) -> dict[str, int]:
    """How many singular values of each weight to keep; at least one, and none that are zero."""
    if job.overall:
        counts = _overall_counts(spectra, job)
    elif job.rank is not None:
        counts = {name: min(job.rank, len(s)) for name, s in spectra.items()}
    else:
        counts = {name: _count_for_energy(s, job.energy or 1.0) for name, s in spectra.items()}
    return {
        name: max(1, min(counts[name], int(np.count_nonzero(s)))) for name, s in spectra.items()
    }


def _overall_counts(spectra: dict[str, npt.NDArray[np.float64]], job: Truncation) -> dict[str, int]:
    """The largest value of each weight, and then the largest of all others."""
    others = np.sort(np.concatenate([values[1:] for values in spectra.values()]))[::-1]
    if job.rank is not None:
        wanted = (job.rank - 1) * len(spectra)
    else:
        first = np.sqrt(sum(float(values[0]) ** 2 for values in spectra.values()))
        wanted = _count_for_energy(np.concatenate([[first], others]), job.energy or 1.0) - 1
    if wanted == 0 or len(others) == 0:
        return dict.fromkeys(spectra, 1)
    threshold = others[min(wanted, len(others)) - 1]
    return {name: 1 + int((values[1:] >= threshold).sum()) for name, values in spectra.items()}


def _count_for_energy(falling: npt.NDArray[np.float64], energy: float) -> int:
    kept = np.cumsum(falling**2)
    # Rounding must not ask for values that are nothing but rounding themselves.
    return int(np.searchsorted(kept, energy * kept[-1] * (1 - 1e-12)) + 1)


def _decompose_all(
    scales: dict[str, float],
    load: Callable[[str], tuple[FloatArray, FloatArray]],
    on_progress: Progress | None,
) -> Iterator[tuple[str, Decomposition]]:
    for done, (name, scale) in enumerate(scales.items()):
        if on_progress is not None:
            on_progress(done, len(scales), name)
        yield name, decompose(*load(name), scale)


def _report(decomposed: dict[str, Decomposition], ranks: dict[str, int]) -> TruncationReport:
    pairs, kept_sum, whole_sum = [], 0.0, 0.0
    for name, decomposition in decomposed.items():
        squares = decomposition.singular_values**2
        kept, lost = float(squares[: ranks[name]].sum()), float(squares[ranks[name] :].sum())
        kept_sum, whole_sum = kept_sum + kept, whole_sum + kept + lost
        energy, error = _measures(kept, lost)
        pairs.append(TruncatedPair(name, len(squares), ranks[name], energy, error))
    energy, error = _measures(kept_sum, whole_sum - kept_sum)
    return TruncationReport(tuple(pairs), energy, error)


def _measures(kept: float, lost: float) -> tuple[float, float]:
    whole = kept + max(0.0, lost)
    if whole == 0:
        return 1.0, 0.0
    return kept / whole, float(np.sqrt(max(0.0, lost) / whole))


@dataclass(frozen=True)
class _TruncatedAdapter:
    """A `LoraAdapter` of lower rank, with scale 1."""

    path: Path
    architecture: str
    card: AdapterCard
    pairs: dict[str, PairInfo]
    decomposed: dict[str, Decomposition]

    def load(self, weight: str) -> tuple[FloatArray, FloatArray]:
        return self.decomposed[weight].factors(self.pairs[weight].rank)


def _write_peft(
    job: Truncation,
    folder: PeftFolder,
    decomposed: dict[str, Decomposition],
    ranks: dict[str, int],
) -> None:
    """A PEFT folder with scale 1 everywhere: alpha equals the rank of each module."""
    config = json.loads((folder.path / CONFIG_NAME).read_text("utf-8"))
    largest = max(ranks.values())
    differing = {module: rank for module, rank in ranks.items() if rank != largest}
    config |= {
        "r": largest,
        "lora_alpha": largest,
        "use_rslora": False,
        "rank_pattern": differing,
        "alpha_pattern": differing,
    }
    tensors: dict[str, FloatArray] = {}
    for module, pair in folder.pairs.items():
        a, b = decomposed[module].factors(ranks[module])
        tensors[pair.a.name], tensors[pair.b.name] = a, b
    needed_bytes = sum(tensor.nbytes for tensor in tensors.values())
    with new_folder(
        job.output, FILE_NAMES, force=job.force, needed_bytes=needed_bytes
    ) as temporary:
        (temporary / CONFIG_NAME).write_text(json.dumps(config, indent=2), "utf-8")
        with (temporary / WEIGHTS_NAME).open("wb") as file:
            write_safetensors(file, tensors, {"format": "pt"})
        card = folder.path / CARD_NAME
        if card.exists():
            shutil.copyfile(card, temporary / CARD_NAME)
