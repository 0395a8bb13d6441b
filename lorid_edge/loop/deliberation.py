"""One problem on its way to an answer: which samples run, what they said, and when it ends.

It submits requests to an engine that may serve other problems at the same time, is handed the
progress of its own samples, and turns it into events. It neither decodes nor waits.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from lorid_edge.answers import expect_more_answers, extract_answer, normalise_answer
from lorid_edge.engine.engine import Engine
from lorid_edge.engine.lane import Progress
from lorid_edge.engine.model import AdapterKey
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import Closing, Finish, GenerationRequest, Sequence
from lorid_edge.errors import ContextOverflowError
from lorid_edge.loop.answer_marks import closing, completion_test
from lorid_edge.loop.events import (
    Agreement,
    CalculatorResult,
    Event,
    RoleStarted,
    SampleFinished,
    TextAdded,
)
from lorid_edge.loop.evidence import Tally, vote_weight
from lorid_edge.loop.policies import Policy, Verdict
from lorid_edge.loop.prompts import RolePrompts
from lorid_edge.loop.solution import Sample, Seconds, Settings, Solution, TokenCounts
from lorid_edge.packs.manifest import PackManifest
from lorid_edge.roles import Role

IR, KG, DR = Role.INTUITIVE_REASONER, Role.KNOWLEDGE_GENERATOR, Role.DEEP_REASONER


@dataclass(frozen=True)
class Workplace:
    """What all problems of a solver share: the engine and how its pack is asked."""

    engine: Engine
    manifest: PackManifest
    prompts: RolePrompts
    keys: dict[Role, AdapterKey]
    sequence_tokens: int
    load_seconds: float


@dataclass(frozen=True)
class Problem:
    """A question and what its solution depends on."""

    question: str
    seed: int
    group: int
    max_seconds: float | None = None
    calculator: bool = True


@dataclass
class _Running:
    role: Role
    round: int
    index: int
    calls_told: int = 0
    characters_told: int = 0


class Deliberation:
    """The state of one problem. `solution` may be read once `is_over`."""

    def __init__(self, workplace: Workplace, problem: Problem, policy: Policy) -> None:
        self._workplace = workplace
        self._problem = problem
        self._policy = policy
        fitted = workplace.manifest.confidence
        self._tally = Tally() if fitted is None else Tally(fitted.doubt)
        self._round = 0
        self._next_index = dict.fromkeys(Role, 0)
        self._running: dict[int, _Running] = {}
        self._samples: list[Sample] = []
        self._verdict: Verdict | None = None
        self._began = time.perf_counter()
        self._first_token_seconds: float | None = None
        self._role_seconds = dict.fromkeys(Role, 0.0)
        self._forced_tokens = 0

    @property
    def is_over(self) -> bool:
        return self._verdict is not None

    @property
    def tickets(self) -> list[int]:
        """The engine's tickets of the samples that run or wait."""
        return list(self._running)

    def begin(self) -> list[Event]:
        """Start the first round.

        Raises:
            ContextOverflowError: the question is too long for the context.
        """
        self.check_length()
        self._began = time.perf_counter()
        return self._next_round()

    def handle(self, progress: Progress, seconds: float) -> list[Event]:
        """Take what one decode did to one of the samples; `seconds` is its share of the time."""
        running = self._running.get(progress.ticket)
        if running is None:  # cancelled by another sample's verdict in this same decode
            return []
        sequence = progress.sequence
        self._role_seconds[running.role] += seconds
        if self._first_token_seconds is None and sequence.tokens:
            self._first_token_seconds = time.perf_counter() - self._began
        events = _growth(running, sequence, progress.text)
        if sequence.finish is not None:
            del self._running[progress.ticket]
            events += self._finish(running, sequence)
        return events

    def spend(self, ticket: int, seconds: float) -> None:
        """Take the time of a decode that did nothing but read the prompt of one of the samples."""
        self._role_seconds[self._running[ticket].role] += seconds

    def give_up_if_late(self) -> list[Event]:
        """End with the best answer so far if the time has run out."""
        limit = self._problem.max_seconds
        if self.is_over or limit is None or time.perf_counter() - self._began < limit:
            return []
        return self._conclude(self._policy.give_up(self._tally))

    def solution(self) -> Solution:
        """The result; frees what the engine keeps for this problem."""
        assert self._verdict is not None
        held = self._workplace.engine.release(self._problem.group)
        cluster = self._verdict.cluster
        return Solution(
            question=self._problem.question,
            answer=None if cluster is None else self._tally.answer(cluster),
            status=self._verdict.status,
            confidence=round(self._tally.confidence(cluster), 6),
            policy=self._policy.name,
            pack=self._workplace.manifest.name,
            seed=self._problem.seed,
            rounds=self._round,
            samples=tuple(self._samples),
            tokens=TokenCounts(
                prompt=held.prompt,
                cached=held.cached,
                generated=sum(sample.tokens for sample in self._samples),
                forced=self._forced_tokens,
            ),
            seconds=Seconds(
                total=round(time.perf_counter() - self._began, 4),
                load=round(self._workplace.load_seconds, 4),
                first_token=_rounded(self._first_token_seconds),
                **{role.value: round(spent, 4) for role, spent in self._role_seconds.items()},
            ),
            settings=Settings(
                width=self._policy.width,
                max_rounds=self._policy.max_rounds,
                max_seconds=self._problem.max_seconds,
                calculator=self._problem.calculator,
            ),
        )

    # --- rounds and samples -----------------------------------------------------------------

    def _next_round(self) -> list[Event]:
        if self._round == self._policy.max_rounds:
            return self._conclude(self._policy.give_up(self._tally))
        self._round += 1
        wave = self._policy.wave(self._round, self._tally)
        events: list[Event] = [self._start(IR, self._take_index(IR)) for _ in range(wave.intuitive)]
        events += [self._start(KG, self._take_index(KG)) for _ in range(wave.deep)]
        return events

    def _take_index(self, role: Role) -> int:
        index = self._next_index[role]
        self._next_index[role] += 1
        return index

    def _start(self, role: Role, index: int, knowledge: str = "") -> Event:
        workplace, settings = self._workplace, self._workplace.manifest.roles[role]
        sampling = workplace.manifest.sampling
        prompt = workplace.prompts.build(role, self._problem.question, knowledge)
        solves = role is not KG
        request = GenerationRequest(
            prompt=prompt.tokens,
            hold_tokens=prompt.hold_tokens,
            max_tokens=settings.max_tokens,
            seed=sample_seed(self._problem.seed, role, index),
            key=workplace.keys[role],
            group=self._problem.group,
            sampling=SamplingSettings(sampling.temperature, sampling.top_k, sampling.top_p),
            stop=settings.stop,
            is_complete=completion_test(workplace.manifest.answer.format) if solves else None,
            closing=self._closing(role, len(prompt.tokens)) if solves else None,
            calculator=self._problem.calculator and solves,
        )
        self._running[workplace.engine.submit(request)] = _Running(role, self._round, index)
        return RoleStarted(role, self._round, index)

    def _closing(self, role: Role, prompt_tokens: int) -> Closing | None:
        """What asks a chain at its limit for its answer; None where the context has no room."""
        workplace = self._workplace
        asking = closing(workplace.manifest.answer.format)
        own_tokens = prompt_tokens - len(workplace.prompts.fixed(role))
        most_tokens = own_tokens + workplace.manifest.roles[role].max_tokens + asking.tokens
        return asking if most_tokens <= workplace.sequence_tokens else None

    def _finish(self, running: _Running, sequence: Sequence) -> list[Event]:
        sample = self._record(running, sequence)
        events: list[Event] = [SampleFinished(sample)]
        if self.is_over:
            return events
        if running.role is KG:
            return [*events, self._start(DR, running.index, sample.text)]
        agreed_before = self._tally.agreed()
        usual = self._workplace.manifest.roles[running.role].entropy_nats
        weight = vote_weight(sample.entropy_nats, usual)
        asked = sequence.finish is Finish.LENGTH
        self._tally.add(running.role, sample.answer, weight, asked=asked)
        new = [cluster for cluster in self._tally.agreed() if cluster not in agreed_before]
        events += [Agreement(self._tally.answer(cluster)) for cluster in new]
        verdict = self._policy.decide(self._tally)
        if verdict is not None:
            return events + self._conclude(verdict)
        if sample.answer is not None:
            expect_more_answers(sample.answer)
        return events if self._running else events + self._next_round()

    def _conclude(self, verdict: Verdict) -> list[Event]:
        """Stop everything that is still pending.

        Samples that ended in the same decode come through `handle` after this; they are recorded
        and no longer counted.
        """
        self._verdict = verdict
        events: list[Event] = []
        for ticket, running in list(self._running.items()):
            sequence = self._workplace.engine.cancel(ticket)
            if sequence is not None:
                del self._running[ticket]
                # The same decode may have added to it, and what could begin a stop string is text.
                events += _growth(running, sequence, sequence.text[running.characters_told :])
                events.append(SampleFinished(self._record(running, sequence)))
        return events

    def _record(self, running: _Running, sequence: Sequence) -> Sample:
        assert sequence.finish is not None
        answer = None
        if running.role is not KG and sequence.finish is not Finish.CANCELLED:
            raw = extract_answer(sequence.text, complete=not sequence.is_cut)
            answer = None if raw is None else normalise_answer(raw)
        calls = sequence.calculator_calls
        sample = Sample(
            role=running.role,
            round=running.round,
            index=running.index,
            text=sequence.text,
            answer=answer,
            tokens=len(sequence.tokens),
            finish=sequence.finish.value,
            calculator_results=len(calls),
            calculator_corrections=sum(call.differed for call in calls),
            entropy_nats=_rounded(sequence.mean_entropy_nats),
        )
        self._forced_tokens += sequence.forced_tokens
        self._samples.append(sample)
        return sample

    def check_length(self) -> None:
        """Refuse a question that a role could not answer within the context, before any work.

        Raises:
            ContextOverflowError: the message says how many tokens are needed.
        """
        prompts, limit = self._workplace.prompts, self._workplace.sequence_tokens
        roles = self._workplace.manifest.roles
        for role in Role:
            prompt = prompts.build(role, self._problem.question)
            question = len(prompt.tokens) - len(prompts.fixed(role))  # the fixed part is shared
            generated = roles[role].max_tokens + (roles[KG].max_tokens if role is DR else 0)
            if question + generated > limit:
                raise ContextOverflowError(
                    f"The question is too long for the {role.value}: it takes {question} tokens "
                    f"and the answer up to {generated}; the context holds {limit} for both. "
                    "Shorten the question, or give more room with --context-tokens."
                )


def sample_seed(seed: int, role: Role, index: int) -> int:
    """The sampler seed of one sample, 0 to 2**32 - 1: the same whatever runs beside it."""
    digest = hashlib.blake2s(f"{seed}/{role.value}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _growth(running: _Running, sequence: Sequence, text: str) -> list[Event]:
    """What a sample's readers have not been told: results of the calculator, then its new text."""
    calls = sequence.calculator_calls[running.calls_told :]
    running.calls_told += len(calls)
    running.characters_told += len(text)
    role, index = running.role, running.index
    events: list[Event] = [
        CalculatorResult(role, index, call.text, call.differed) for call in calls
    ]
    return [*events, TextAdded(role, index, text)] if text else events


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
