"""From a pack to an engine that is ready to decode: check, probe, load, prepare."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.engine import native, shared_models
from lorid_edge.engine.engine import Engine, EngineSettings
from lorid_edge.engine.lane import LaneSettings
from lorid_edge.engine.memory import available_bytes, needed_bytes
from lorid_edge.engine.model import BARE, AdapterKey, Model
from lorid_edge.engine.probe import ProbeResult, probe
from lorid_edge.engine.prompt_store import PromptStore
from lorid_edge.engine.threads import ThreadChoice, choose_threads
from lorid_edge.errors import MemoryShortageError, UsageError
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import GgufFile
from lorid_edge.loop.deliberation import Workplace
from lorid_edge.loop.prompts import RolePrompts, estimate_fixed_tokens
from lorid_edge.packs.manifest import PackManifest
from lorid_edge.packs.store import PackStore, VerifiedPack
from lorid_edge.roles import Role

HELD_PROMPT_TOKENS = 200
"""What a problem adds to the fixed part of a prompt that is kept for one role, in an estimate."""

SEQUENCES_MAX = 256
"""llama.cpp's limit of sequences in a context."""


@dataclass(frozen=True)
class LoadSettings:
    """How a pack is loaded.

    Attributes:
        width: samples of a role decoded at once, 1 to 32.
        in_flight: problems solved at the same time, 1 to 32.
        sequence_tokens: longest question and answer of a sample; None for the pack's own.
        threads: None to choose by the machine.
        low_memory: one context that switches adapters, instead of one for each adapter.
        weights: another file with the weights of the pack's base, unpacked (`convert.unpacked`).
        ignore_memory: load even if too little memory seems to be free.
        ignore_base_hash: load adapters that were made for another base of the same shapes; what
            they write may be nonsense.
    """

    width: int = 4
    in_flight: int = 1
    sequence_tokens: int | None = None
    threads: int | None = None
    low_memory: bool = False
    weights: Path | None = None
    ignore_memory: bool = False
    ignore_base_hash: bool = False

    def __post_init__(self) -> None:
        for name, largest in (("width", 32), ("in_flight", 32), ("threads", 512)):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= largest:
                raise UsageError(f"{name} is {value}; it has to be from 1 to {largest}.")
        tokens = self.sequence_tokens
        if tokens is not None and not 64 <= tokens <= 131072:
            raise UsageError(
                f"sequence_tokens (--context-tokens) is {tokens}; it has to be from 64 to 131072."
            )


@dataclass(frozen=True)
class LoadedPack:
    """A pack in memory."""

    workplace: Workplace
    model: Model
    adapters: tuple[str, ...]
    threads: ThreadChoice
    probe: ProbeResult

    def close(self) -> None:
        """Free all native memory that no other pack uses."""
        self.workplace.engine.close()
        _give_back(self.model, self.adapters)


def load_pack(verified: VerifiedPack, settings: LoadSettings, store: PackStore) -> LoadedPack:
    """Load a checked pack.

    Raises:
        MemoryShortageError: too little memory is free.
        EngineError: llama.cpp cannot load it.
    """
    began = time.perf_counter()
    manifest = verified.pack.manifest
    keys = _adapter_keys(manifest)
    tokens = settings.sequence_tokens or manifest.context.sequence_tokens
    _require_memory(verified, settings)
    path = settings.weights or verified.pack.base_path
    identity = weights_identity(manifest.base.sha256, settings.weights)
    base = check_base(path) if settings.weights else verified.base
    weight_types = {tensor.type for tensor in base.tensors.values()}
    result = probe(path, weight_types, store.places.state)
    model = shared_models.borrow(path, identity, use_extra_buffers=result.use_extra_buffers)
    adapters: list[str] = []
    engine = None
    try:
        prompts = RolePrompts(model, manifest)
        fixed = {
            key: [prompts.fixed(role) for role in Role if keys[role] == key]
            for key in dict.fromkeys(keys.values())
        }
        fixed_tokens = max(len(part) for parts in fixed.values() for part in parts)
        lane_settings, _ = _lane_sizes(settings, tokens, keys, fixed_tokens)
        kv_identity = _kv_identity(identity, result.use_extra_buffers, lane_settings.sequences)
        prompt_store = PromptStore(store.places.prompts, kv_identity)
        engine_settings = EngineSettings(
            lane_settings,
            low_memory=settings.low_memory,
            fullest_first=settings.in_flight > 1,
        )
        engine = Engine(model, engine_settings, prompt_store)
        for path, sha256 in _adapter_files(verified).items():
            model.load_adapter(path, sha256)
            adapters.append(sha256)
        for key, parts in fixed.items():
            engine.prepare(key, parts)
    except BaseException:
        if engine is not None:
            engine.close()
        _give_back(model, adapters)
        raise
    workplace = Workplace(
        engine=engine,
        manifest=manifest,
        prompts=prompts,
        keys=keys,
        sequence_tokens=tokens,
        load_seconds=time.perf_counter() - began,
    )
    threads = choose_threads(settings.threads)
    return LoadedPack(workplace, model, tuple(adapters), threads, result)


def required_bytes(verified: VerifiedPack, settings: LoadSettings) -> int:
    """An estimate of the memory that the pack takes if it is loaded now, in bytes."""
    manifest = verified.pack.manifest
    tokens = settings.sequence_tokens or manifest.context.sequence_tokens
    fixed_tokens = max(
        estimate_fixed_tokens(manifest.prompt.system, manifest.roles[role]) for role in Role
    )
    lane, lanes = _lane_sizes(settings, tokens, _adapter_keys(manifest), fixed_tokens)
    held_tokens = len(Role) * settings.in_flight * (fixed_tokens + HELD_PROMPT_TOKENS)
    kv_bytes = (lane.cells * lanes + held_tokens) * kv_bytes_per_token(verified.base)
    is_loaded = shared_models.is_loaded(weights_identity(manifest.base.sha256, settings.weights))
    file_bytes = settings.weights.stat().st_size if settings.weights else manifest.base.bytes
    base_bytes = 0 if is_loaded else file_bytes
    return needed_bytes(base_bytes, kv_bytes)


def kv_bytes_per_token(base: GgufFile) -> int:
    """Bytes of KV cache for one token: keys and values of all layers, two bytes each."""

    def number(key: str, default: int) -> int:
        value = base.metadata.get(f"{base.architecture}.{key}", default)
        return int(value) if isinstance(value, int | float) else default

    layers = number("block_count", 0)
    heads = max(1, number("attention.head_count", 1))
    kv_heads = number("attention.head_count_kv", heads)
    head_size = number("attention.key_length", number("embedding_length", 0) // heads)
    return layers * kv_heads * head_size * 2 * 2


def weights_identity(sha256: str, copy: Path | None) -> str:
    """What tells weights in memory from others: the base's hash, and which copy of it."""
    return sha256 if copy is None else f"{sha256} {copy.name}"


def _kv_identity(weights: str, use_extra_buffers: bool, sequences: int) -> str:
    """What evaluated prompts depend on to the last bit, beside adapter and tokens.

    llama.cpp refuses the state of a context of another number of sequences.
    """
    kernels = os.environ.get("GGML_CPU_TILED_MM")  # set by now, by the user or by `native`
    return f"{weights} {native.library_hash()} {use_extra_buffers} {kernels} {sequences}"


def _adapter_keys(manifest: PackManifest) -> dict[Role, AdapterKey]:
    keys = {}
    for role in Role:
        adapter = manifest.roles[role].adapter
        keys[role] = BARE if adapter is None else AdapterKey(adapter.sha256, adapter.scale)
    return keys


def _lane_sizes(
    settings: LoadSettings,
    sequence_tokens: int,
    keys: dict[Role, AdapterKey],
    fixed_tokens: int,
) -> tuple[LaneSettings, int]:
    """The size of each lane, and how many there will be."""
    distinct = len(set(keys.values()))
    # Roles on one adapter share a lane: intuitive samples and knowledge -> deep chains at once.
    streams = 1 if settings.low_memory or distinct == len(keys) else 2
    samples = settings.in_flight * streams * settings.width
    if samples > SEQUENCES_MAX:
        raise UsageError(
            f"{settings.in_flight} problems at width {settings.width} need {samples} sequences; "
            f"llama.cpp allows {SEQUENCES_MAX}."
        )
    lane = LaneSettings(
        sequence_tokens=fixed_tokens + sequence_tokens,
        sequences=samples,
        threads=choose_threads(settings.threads).threads,
    )
    return lane, 1 if settings.low_memory else distinct


def _adapter_files(verified: VerifiedPack) -> dict[Path, str]:
    """The distinct adapters of the roles: path and SHA-256."""
    files = {}
    for role in Role:
        adapter = verified.pack.manifest.roles[role].adapter
        path = verified.pack.adapter_path(role)
        if adapter is not None and path is not None:
            files[path] = adapter.sha256
    return files


def _give_back(model: Model, adapters: Iterable[str]) -> None:
    for sha256 in adapters:
        model.release_adapter(sha256)
    shared_models.give_back(model)


def _require_memory(verified: VerifiedPack, settings: LoadSettings) -> None:
    manifest = verified.pack.manifest
    needed = required_bytes(verified, settings)
    free = available_bytes()
    if free >= needed or settings.ignore_memory:
        return
    remedies = []
    if manifest.name == "standard":
        remedies.append("use '--pack small'")
    if settings.width > 1:
        remedies.append("a smaller --width")
    if not settings.low_memory:
        remedies.append("--low-memory")
    raise MemoryShortageError(
        f"The pack {manifest.name} needs about {needed / 1e6:,.0f} MB of memory and "
        f"{free / 1e6:,.0f} MB are free. Close other programs, or {', or '.join(remedies)}."
        if remedies
        else f"The pack {manifest.name} needs about {needed / 1e6:,.0f} MB of memory and "
        f"{free / 1e6:,.0f} MB are free. Close other programs."
    )
