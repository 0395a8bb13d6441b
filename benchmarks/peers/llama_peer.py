"""llama-cpp-python's high-level `Llama`: one adapter an instance, one sequence at a time.

A `Llama` takes one adapter, when it is made. Making it anew for every change of role would read
and repack the weights each time, so there is an instance for each adapter, all in memory. Its own
prefix match is on: what a prompt shares with the one before (examples and, for further samples of a
problem, the question) is not evaluated again.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from llama_cpp import Llama
from llama_cpp._internals import LlamaSampler
from peer_loop import GrowingText, Heard, RolePlay, SampleRequest, Written
from side_settings import SideSettings

from lorid_edge.engine.model import Model
from lorid_edge.engine.sequence import Finish
from lorid_edge.engine.threads import choose_threads
from lorid_edge.packs.manifest import Sampling
from lorid_edge.packs.store import Pack
from lorid_edge.roles import Role


class _Llama(Llama):  # type: ignore[misc]
    """`Llama` with the pack's order of samplers; its own draws top-p before the temperature."""

    def _init_sampler(self, temp: float, top_k: int, top_p: float, **_: Any) -> LlamaSampler:
        sampler = LlamaSampler()
        if temp <= 0:
            sampler.add_greedy()
            return sampler
        sampler.add_temp(temp)
        if top_k > 0:
            sampler.add_top_k(top_k)
        if top_p < 1:
            sampler.add_top_p(top_p, 1)
        sampler.add_dist(self._seed)
        return sampler


class LlamaGenerator:
    """A `Generator`, to be used in one thread. Free it with `close`."""

    def __init__(self, pack: Pack, play: RolePlay, settings: SideSettings) -> None:
        self._play = play
        self._threads = threads = choose_threads(settings.threads).threads
        by_adapter: dict[tuple[str, float] | None, _Llama] = {}
        self._llamas: dict[Role, _Llama] = {}
        for role in Role:
            adapter = pack.manifest.roles[role].adapter
            key = None if adapter is None else (adapter.sha256, adapter.scale)
            if key not in by_adapter:
                path = pack.adapter_path(role)
                by_adapter[key] = _Llama(
                    str(pack.base_path),
                    lora_path=None if path is None else str(path),
                    lora_scale=1.0 if adapter is None else adapter.scale,
                    n_ctx=play.longest_prompt_and_reply(),
                    n_threads=threads,
                    n_threads_batch=threads,
                    flash_attn=True,  # llama.cpp's own choice here, and so that of the others
                    verbose=False,
                )
            self._llamas[role] = by_adapter[key]
        for role, llama in self._llamas.items():  # before the clock starts, as for ours
            llama.eval(play.prompts.fixed(role))

    def generate(self, role: Role, requests: Sequence[SampleRequest], heard: Heard) -> None:
        """One sample after the other; those that are no longer needed never begin."""
        for position, request in enumerate(requests):
            if not heard(position, self._write(role, request)):
                return

    def _write(self, role: Role, request: SampleRequest) -> Written:
        llama, sampling = self._llamas[role], self._play.manifest.sampling
        llama.set_seed(request.seed)
        return written_by(
            llama.generate(request.prompt, **_settings(sampling)),
            self._play.growing_text(role),
            request.max_tokens,
            self._play.vocabulary,
        )

    def conditions(self) -> dict[str, Any]:
        return {"instances": len(set(self._llamas.values())), "threads": self._threads}

    def close(self) -> None:
        """Free all instances."""
        for llama in set(self._llamas.values()):
            llama.close()


def _settings(sampling: Sampling) -> dict[str, float]:
    return {
        "temp": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
    }


def written_by(tokens: Any, text: GrowingText, max_tokens: int, vocabulary: Model) -> Written:
    """Read tokens until the sample is over."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    count = 0
    for token in tokens:
        if vocabulary.is_end(token):
            return Written(text.text, count, Finish.END)
        count += 1
        if text.add(decoder.decode(vocabulary.piece(token))):
            return Written(text.text, count, Finish.STOP)
        if count == max_tokens:
            break
    return Written(text.text, count, Finish.LENGTH)
