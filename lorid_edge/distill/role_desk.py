"""One role of a pack, asked about many problems at once.

The solver decides sample by sample when a problem is over. Here every problem gets the same number
of samples, and a problem is begun as soon as the ones before leave room: the batch stays full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.convert.unpacked import choose_weights, weight_types
from lorid_edge.data.record import Record
from lorid_edge.engine import native, shared_models
from lorid_edge.engine.engine import Engine, EngineSettings
from lorid_edge.engine.lane import LaneSettings
from lorid_edge.engine.memory import available_bytes, needed_bytes
from lorid_edge.engine.model import BARE, AdapterKey, Model
from lorid_edge.engine.probe import probe
from lorid_edge.engine.prompt_store import PromptStore
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import GenerationRequest, Sequence
from lorid_edge.engine.threads import choose_threads
from lorid_edge.errors import MemoryShortageError, UsageError
from lorid_edge.loading import SEQUENCES_MAX, kv_bytes_per_token
from lorid_edge.loop.answer_marks import completion_test
from lorid_edge.loop.prompts import RolePrompts, estimate_fixed_tokens
from lorid_edge.packs.manifest import PackManifest
from lorid_edge.packs.store import Pack, PackStore, VerifiedPack
from lorid_edge.roles import Role


@dataclass(frozen=True)
class DeskSettings:
    """How many samples are made at once, and how they are drawn.

    Attributes:
        samples: of each problem.
        in_flight: problems whose samples are decoded together.
        sampling: None for the pack's own.
        max_tokens: of a sample; None for the role's own.
        question_tokens: room for the part of a prompt that is the problem's own.
        threads: None to choose by the machine.
        calculator: force the results of arithmetic instead of sampling them.
        ignore_memory: load even if too little memory seems to be free.
    """

    samples: int = 4
    in_flight: int = 4
    sampling: SamplingSettings | None = None
    max_tokens: int | None = None
    question_tokens: int = 400
    threads: int | None = None
    calculator: bool = True
    ignore_memory: bool = False

    def __post_init__(self) -> None:
        if self.samples < 1 or self.in_flight < 1:
            raise UsageError("samples and problems in flight have to be at least 1.")
        if self.samples * self.in_flight > SEQUENCES_MAX:
            raise UsageError(
                f"{self.in_flight} problems in flight with {self.samples} samples each are too "
                f"many at once; their product can be {SEQUENCES_MAX}."
            )


@dataclass(frozen=True)
class Ask:
    """A problem for the role; `key` names it, so that its seeds are its own."""

    key: str
    question: str
    knowledge: str = ""


@dataclass(frozen=True)
class Asked:
    """A problem and all its finished samples, in the order of their seeds."""

    ask: Ask
    samples: tuple[Sequence, ...]


class RoleDesk:
    """Make it with `open_desk`. Not thread-safe, but for `abort`."""

    def __init__(
        self,
        engine: Engine,
        prompts: RolePrompts,
        manifest: PackManifest,
        role: Role,
        settings: DeskSettings,
    ) -> None:
        self.manifest = manifest
        self.role = role
        self.settings = settings
        self._engine = engine
        self._prompts = prompts
        own = manifest.sampling
        self.sampling = settings.sampling or SamplingSettings(own.temperature, own.top_k, own.top_p)

    def abort(self) -> None:
        """From any thread: stop the decode that runs; `sample` then raises CancelledError."""
        self._engine.abort()

    def fits(self, ask: Ask) -> bool:
        """Whether the problem is short enough."""
        prompt = self._prompts.build(self.role, ask.question, ask.knowledge)
        own = len(prompt.tokens) - len(self._prompts.fixed(self.role))
        return own <= self.settings.question_tokens

    def sample(self, asks: Iterable[Ask], seed: int) -> Iterator[Asked]:
        """Sample every problem and yield it when all its samples are finished.

        Problems come in the order in which they end. A sample depends on its problem, `seed` and
        number, not on what runs beside it, but for floating-point noise. Those that do not `fits`
        are to be left out before.

        Raises:
            CancelledError: `abort` was called.
            EngineError: llama.cpp failed.
        """
        waiting = iter(asks)
        owners: dict[int, tuple[int, int]] = {}
        open_asks: dict[int, Ask] = {}
        finished: dict[int, dict[int, Sequence]] = {}
        group, is_exhausted = 0, False
        room = self.settings.samples * self.settings.in_flight
        self._engine.reset()
        try:
            while True:
                while not is_exhausted and len(owners) + self.settings.samples <= room:
                    ask = next(waiting, None)
                    if ask is None:
                        is_exhausted = True
                        break
                    for index in range(self.settings.samples):
                        owners[self._submit(ask, seed, group, index)] = group, index
                    open_asks[group], finished[group] = ask, {}
                    group += 1
                if not owners:
                    return
                for progress in self._engine.step():
                    if progress.sequence.finish is None:
                        continue
                    owner, index = owners.pop(progress.ticket)
                    finished[owner][index] = progress.sequence
                    if len(finished[owner]) == self.settings.samples:
                        self._engine.release(owner)
                        samples = finished.pop(owner)
                        in_order = tuple(samples[number] for number in sorted(samples))
                        yield Asked(open_asks.pop(owner), in_order)
        finally:
            self._engine.reset()

    def ask(
        self, records: Iterable[Record], seed: int
    ) -> Iterator[tuple[Record, tuple[Sequence, ...]]]:
        """`sample` the problems of a data set: each with its samples, none where it is too long."""
        known = {record.id: record for record in records}
        fitting = []
        for record in known.values():
            ask = Ask(record.id, record.question)
            if self.fits(ask):
                fitting.append(ask)
            else:
                yield record, ()
        for asked in self.sample(fitting, seed):
            yield known[asked.ask.key], asked.samples

    def _submit(self, ask: Ask, seed: int, group: int, index: int) -> int:
        role = self.manifest.roles[self.role]
        prompt = self._prompts.build(self.role, ask.question, ask.knowledge)
        solves = self.role is not Role.KNOWLEDGE_GENERATOR
        return self._engine.submit(
            GenerationRequest(
                prompt=prompt.tokens,
                hold_tokens=len(prompt.tokens) - 1,
                max_tokens=self.settings.max_tokens or role.max_tokens,
                seed=_seed(seed, ask.key, index),
                key=_adapter_key(self.manifest, self.role),
                group=group,
                sampling=self.sampling,
                stop=role.stop,
                is_complete=completion_test(self.manifest.answer.format) if solves else None,
                calculator=self.settings.calculator and solves,
            )
        )


@contextmanager
def open_desk(
    pack: Pack, role: Role, settings: DeskSettings, store: PackStore | None = None
) -> Iterator[RoleDesk]:
    """Check the pack and load one role of it.

    Raises:
        PackError, ModelFileError, AdapterError: something is missing or wrong.
        MemoryShortageError: too little memory is free.
        EngineError: llama.cpp cannot load it.
    """
    store = store or PackStore()
    verified = store.open(pack)
    manifest, base = pack.manifest, pack.manifest.base
    samples = settings.samples * settings.in_flight
    weights = choose_weights(
        pack.base_path, base.sha256, samples, store.places, threads=settings.threads
    )
    path, weights_identity = weights.file or pack.base_path, weights.identity(base.sha256)
    _require_memory(verified, role, settings, path, weights_identity)
    probed = probe(path, weight_types(path), store.places.state)
    model = shared_models.borrow(path, weights_identity, use_extra_buffers=probed.use_extra_buffers)
    engine, adapter = None, None
    try:
        prompts = RolePrompts(model, manifest)
        fixed = prompts.fixed(role)
        lane = _lane_settings(manifest, role, settings, len(fixed))
        identity = (
            f"{weights_identity} {native.library_hash()} {probed.use_extra_buffers} "
            f"{lane.sequences} desk"
        )
        engine = Engine(model, EngineSettings(lane), PromptStore(store.places.prompts, identity))
        adapter = _load_adapter(model, pack, role)
        engine.prepare(_adapter_key(manifest, role), [fixed])
        yield RoleDesk(engine, prompts, manifest, role, settings)
    finally:
        if engine is not None:
            engine.close()
        if adapter is not None:
            model.release_adapter(adapter)
        shared_models.give_back(model)


def _lane_settings(
    manifest: PackManifest, role: Role, settings: DeskSettings, fixed_tokens: int
) -> LaneSettings:
    """Room for all samples at once."""
    max_tokens = settings.max_tokens or manifest.roles[role].max_tokens
    return LaneSettings(
        sequence_tokens=fixed_tokens + settings.question_tokens + max_tokens,
        sequences=settings.samples * settings.in_flight,
        threads=choose_threads(settings.threads).threads,
    )


def _require_memory(
    verified: VerifiedPack, role: Role, settings: DeskSettings, path: Path, weights_identity: str
) -> None:
    manifest = verified.pack.manifest
    base = manifest.base
    fixed_tokens = estimate_fixed_tokens(manifest.prompt.system, manifest.roles[role])
    lane = _lane_settings(manifest, role, settings, fixed_tokens)
    base_bytes = 0 if shared_models.is_loaded(weights_identity) else path.stat().st_size
    needed = needed_bytes(base_bytes, lane.cells * kv_bytes_per_token(verified.base))
    free = available_bytes()
    if free < needed and not settings.ignore_memory:
        raise MemoryShortageError(
            f"{settings.samples * settings.in_flight} samples of {base.file} at once need about "
            f"{needed / 1e6:,.0f} MB of memory and {free / 1e6:,.0f} MB are free. Close other "
            "programs, or have fewer problems in flight."
        )


def _adapter_key(manifest: PackManifest, role: Role) -> AdapterKey:
    adapter = manifest.roles[role].adapter
    return BARE if adapter is None else AdapterKey(adapter.sha256, adapter.scale)


def _load_adapter(model: Model, pack: Pack, role: Role) -> str | None:
    adapter, path = pack.manifest.roles[role].adapter, pack.adapter_path(role)
    if adapter is None or path is None:
        return None
    model.load_adapter(path, adapter.sha256)
    return adapter.sha256


def _seed(seed: int, key: str, index: int) -> int:
    """The sampler seed of one sample, 0 to 2**32 - 1."""
    digest = hashlib.blake2s(f"{seed}/{key}/{index}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "little")
