"""llama-server with an adapter for each request, several problems and samples at once.

Every role has slots of its own, chosen by the request (`id_slot`): keys and values made under one
adapter are never read under another, and what a prompt shares with the one before in its slot is
not evaluated again. The final answer ends a sample by closing its connection, which cancels it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from peer_loop import Heard, PeerLoop, RolePlay, SampleRequest, SolvedProblem, Written
from server_process import ServerProcess, ServerSize
from side_settings import SideSettings

from lorid_edge.engine.sequence import Finish
from lorid_edge.engine.threads import choose_threads
from lorid_edge.loop.policies import FIRST_THOUGHTS
from lorid_edge.packs.store import Pack
from lorid_edge.roles import Role

LOG = Path(__file__).parents[2] / "build" / "peers" / "llama-server.log"


class LlamaServerSide:
    """A `Side`: as many problems at once as a role has slots."""

    def __init__(self, pack: Pack, settings: SideSettings) -> None:
        self._settings = settings
        self._play = RolePlay(pack)
        self._generator = ServerGenerator(pack, self._play, settings)
        self._loop = PeerLoop(self._play, self._generator)

    def solve(self, questions: Sequence[str], seed: int) -> list[SolvedProblem]:
        def solve_one(question: str) -> SolvedProblem:
            return self._loop.solve(question, self._settings.peer_policy(), seed)

        with ThreadPoolExecutor(self._settings.slots) as pool:
            return list(pool.map(solve_one, questions))

    def conditions(self) -> dict[str, Any]:
        return {
            "width": self._settings.peer_width,
            "slots_for_each_role": self._settings.slots,
            "problems_at_once": self._settings.slots,
            "weights": Path(self._settings.server_weights or "packed").name,
            "threads": choose_threads(self._settings.threads).threads,
        }

    def close(self) -> None:
        self._generator.close()
        self._play.close()


class Slots:
    """The free slots of one role. Thread-safe."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._free: dict[int, tuple[int, ...]] = dict.fromkeys(numbers, ())
        self._free_again = threading.Condition()

    def take(self, prompt: tuple[int, ...]) -> int:
        """Wait for a slot and take the one whose last prompt shares most with `prompt`."""
        with self._free_again:
            self._free_again.wait_for(lambda: self._free)
            best = max(self._free, key=lambda number: shared_tokens([self._free[number], prompt]))
            del self._free[best]
            return best

    def give_back(self, number: int, prompt: tuple[int, ...]) -> None:
        """Free a slot that has evaluated `prompt` last."""
        with self._free_again:
            self._free[number] = prompt
            self._free_again.notify()


def shared_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all prompts share."""
    first, *others = prompts
    count = min(map(len, prompts))
    for other in others:
        count = next((i for i in range(count) if first[i] != other[i]), count)
    return count


class ServerGenerator:
    """A `Generator` for several threads. Free it with `close`."""

    def __init__(self, pack: Pack, play: RolePlay, settings: SideSettings) -> None:
        self._play = play
        slots = settings.slots
        size = ServerSize(
            slots * len(Role),
            play.longest_prompt_and_reply(),
            choose_threads(settings.threads).threads,
        )
        weights = Path(settings.server_weights or pack.base_path)
        self._server = ServerProcess(pack, weights, size, LOG)
        self._slots = {
            role: Slots(range(number * slots, (number + 1) * slots))
            for number, role in enumerate(Role)
        }
        self._pool = ThreadPoolExecutor(slots * max(settings.peer_width, FIRST_THOUGHTS))
        self._evaluate_fixed_prompts(slots)

    def generate(self, role: Role, requests: Sequence[SampleRequest], heard: Heard) -> None:
        """All requests at once, as far as there are slots."""
        results: SimpleQueue[tuple[int, Written | BaseException | None]] = SimpleQueue()
        is_decided = threading.Event()

        def work(position: int, request: SampleRequest) -> None:
            try:
                results.put((position, self._write(role, request, is_decided)))
            except BaseException as error:
                results.put((position, error))

        for position, request in enumerate(requests):
            self._pool.submit(work, position, request)
        for _ in requests:
            position, written = results.get()
            if isinstance(written, BaseException):
                is_decided.set()
                raise written
            if written is not None and not heard(position, written):
                is_decided.set()

    def _write(
        self, role: Role, request: SampleRequest, is_decided: threading.Event
    ) -> Written | None:
        slot = self._slots[role].take(request.prompt)
        try:
            if is_decided.is_set():
                return None
            events = self._server.stream(self._body(role, request, slot))
            text = self._play.growing_text(role)
            try:
                for event in events:
                    is_end = event["stop"] and event["stop_type"] == "eos"
                    tokens = event["tokens_predicted"] - is_end  # the end mark is not counted
                    if text.add(event["content"]):
                        return Written(text.text, tokens, Finish.STOP)
                    if event["stop"]:
                        return Written(text.text, tokens, _FINISHES[event["stop_type"]])
                    if is_decided.is_set():
                        return Written(text.text, tokens, Finish.CANCELLED)
            finally:
                events.close()  # type: ignore[attr-defined]  # a generator: cancels the request
        finally:
            self._slots[role].give_back(slot, request.prompt)
        raise RuntimeError("llama-server closed a stream before its end")

    def _body(self, role: Role, request: SampleRequest, slot: int) -> dict[str, Any]:
        sampling, settings = self._play.manifest.sampling, self._play.manifest.roles[role]
        number = self._server.adapter_ids.get(role)
        scale = 1.0 if settings.adapter is None else settings.adapter.scale
        return {
            "prompt": list(request.prompt),
            "id_slot": slot,
            "lora": [] if number is None else [{"id": number, "scale": scale}],
            "n_predict": request.max_tokens,
            "seed": request.seed,
            "stop": list(settings.stop),
            "samplers": ["temperature", "top_k", "top_p"],
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "cache_prompt": True,
        }

    def _evaluate_fixed_prompts(self, slots: int) -> None:
        """In every slot, before the clock starts, as for ours."""
        for role in Role:
            fixed = self._play.prompts.fixed(role)
            requests = [SampleRequest(fixed, 1, seed=0) for _ in range(slots)]
            self.generate(role, requests, lambda position, written: True)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._server.close()


_FINISHES = {"eos": Finish.END, "word": Finish.STOP, "limit": Finish.LENGTH}
