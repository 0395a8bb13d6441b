"""The project's loop for programs that generate by other means than its engine.

The same policies, tally, prompts, limits, stop rules, seeds and reading of answers as
`lorid_edge.loop.deliberation`; only the generating is the peer's. Within a round it asks for the
intuitive samples first, then for the knowledge, then for the deep ones, and each group as one
batch: a peer that batches can, and a verdict that the first group brings saves the others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from lorid_edge.answers import extract_answer, normalise_answer
from lorid_edge.engine.model import Model
from lorid_edge.engine.sequence import Finish
from lorid_edge.loop.answer_marks import completion_test
from lorid_edge.loop.deliberation import sample_seed
from lorid_edge.loop.evidence import Tally
from lorid_edge.loop.policies import Policy, Verdict
from lorid_edge.loop.prompts import RolePrompts
from lorid_edge.packs.manifest import PackManifest
from lorid_edge.packs.store import Pack
from lorid_edge.roles import Role

IR, KG, DR = Role.INTUITIVE_REASONER, Role.KNOWLEDGE_GENERATOR, Role.DEEP_REASONER


@dataclass(frozen=True)
class SampleRequest:
    """One sample to generate: its prompt as token ids, its limit and its seed."""

    prompt: tuple[int, ...]
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class Written:
    """What came of a request: its text without stop strings, its tokens, and why it ended."""

    text: str
    tokens: int
    finish: Finish


Heard = Callable[[int, Written], bool]
"""Told the position of a request and what was written as soon as it ends, in the thread that called
`generate`; False if the others are no longer needed."""


class Generator(Protocol):
    """A program that generates under one role's adapter at a time."""

    def generate(self, role: Role, requests: Sequence[SampleRequest], heard: Heard) -> None:
        """Generate all requests, or as many as are needed.

        `heard` is told of each that ended, and then, as CANCELLED, of each that had begun when it
        said that no more are needed; what never began is left out.
        """


@dataclass(frozen=True)
class DrawnSample:
    """One sample as it is kept in the results; cancelled ones too."""

    role: str
    text: str
    tokens: int
    finish: str


@dataclass(frozen=True)
class SolvedProblem:
    """What came of one problem, whichever program solved it.

    Attributes:
        seconds: from its first request to its answer, beside whatever else ran.
        forced_tokens: of the samples' tokens, those that the calculator wrote; a peer has none.
    """

    answer: str | None
    status: str
    rounds: int
    seconds: float
    samples: tuple[DrawnSample, ...]
    forced_tokens: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class GrowingText:
    """A sample's text while it grows, and whether a stop string or its final answer ends it."""

    def __init__(self, stop: Sequence[str], is_complete: Callable[[str], bool] | None) -> None:
        self.text = ""
        self._stop = stop
        self._is_complete = is_complete

    def add(self, added: str) -> bool:
        """Append `added`; True if the sample ends here."""
        before = len(self.text)
        self.text += added
        for stop in self._stop:
            at = self.text.find(stop, max(0, before - len(stop)))
            if at >= 0:
                self.text = self.text[:at]
                return True
        return bool(added) and self._is_complete is not None and self._is_complete(self.text)


class RolePlay:
    """How a pack's roles are asked, without its weights: prompts, limits and stop rules."""

    def __init__(self, pack: Pack) -> None:
        self.vocabulary = Model(pack.base_path, vocabulary_only=True)
        self.manifest: PackManifest = pack.manifest
        self.prompts = RolePrompts(self.vocabulary, pack.manifest)
        self._is_complete = completion_test(pack.manifest.answer.format)

    def request(
        self, role: Role, index: int, seed: int, question: str, knowledge: str = ""
    ) -> SampleRequest:
        """The request for the sample of that index."""
        prompt = self.prompts.build(role, question, knowledge)
        limit = self.manifest.roles[role].max_tokens
        return SampleRequest(prompt.tokens, limit, sample_seed(seed, role, index))

    def growing_text(self, role: Role) -> GrowingText:
        """An empty text that knows when a sample of `role` is over."""
        is_complete = None if role is KG else self._is_complete
        return GrowingText(self.manifest.roles[role].stop, is_complete)

    def longest_prompt_and_reply(self) -> int:
        """The context that one sequence needs, in tokens."""
        fixed = max(len(self.prompts.fixed(role)) for role in Role)
        return fixed + self.manifest.context.sequence_tokens

    def close(self) -> None:
        self.vocabulary.close()


def drawn_sample(role: Role, written: Written) -> DrawnSample:
    """What is kept of a sample."""
    return DrawnSample(role.value, written.text, written.tokens, written.finish.value)


def stated_answer(written: Written) -> str | None:
    """The normalised answer of a finished sample."""
    if written.finish is Finish.CANCELLED:
        return None
    raw = extract_answer(written.text, complete=written.finish is not Finish.LENGTH)
    return None if raw is None else normalise_answer(raw)


@dataclass
class _Progress:
    """One problem on its way."""

    question: str
    seed: int
    policy: Policy
    tally: Tally = field(default_factory=Tally)
    verdict: Verdict | None = None
    asked: Counter[Role] = field(default_factory=Counter)
    samples: list[DrawnSample] = field(default_factory=list)


class PeerLoop:
    """Solves problems with a peer's generator. Safe in several threads if the generator is."""

    def __init__(self, play: RolePlay, generator: Generator) -> None:
        self._play = play
        self._generator = generator

    def solve(self, question: str, policy: Policy, seed: int = 0) -> SolvedProblem:
        """Solve one problem by `policy`."""
        began = time.perf_counter()
        problem = _Progress(question, seed, policy)
        rounds = 0
        while problem.verdict is None and rounds < policy.max_rounds:
            rounds += 1
            wave = policy.wave(rounds, problem.tally)
            self._ask(problem, IR, [""] * wave.intuitive)
            if problem.verdict is None and wave.deep:
                self._ask(problem, DR, self._ask(problem, KG, [""] * wave.deep))
        verdict = problem.verdict or policy.give_up(problem.tally)
        cluster = verdict.cluster
        return SolvedProblem(
            answer=None if cluster is None else problem.tally.answer(cluster),
            status=verdict.status.value,
            rounds=rounds,
            seconds=time.perf_counter() - began,
            samples=tuple(problem.samples),
        )

    def _ask(self, problem: _Progress, role: Role, knowledge: Sequence[str]) -> list[str]:
        """Draw a sample for each of `knowledge` and return the texts; may set the verdict."""
        if not knowledge:
            return []
        first = problem.asked[role]
        problem.asked[role] += len(knowledge)
        requests = [
            self._play.request(role, first + i, problem.seed, problem.question, text)
            for i, text in enumerate(knowledge)
        ]
        texts = [""] * len(requests)

        def heard(position: int, written: Written) -> bool:
            texts[position] = written.text
            problem.samples.append(drawn_sample(role, written))
            if role is not KG and problem.verdict is None:
                problem.tally.add(role, stated_answer(written))
                problem.verdict = problem.policy.decide(problem.tally)
            return problem.verdict is None

        self._generator.generate(role, requests, heard)
        return texts
