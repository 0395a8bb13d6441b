"""An engine that draws each sample once and plays it back to every policy that asks for it again.

A sample is fixed by question, role and number, because its seed is: policies that are compared on
recorded samples see the same draws, which makes the comparison paired and saves most of its time.
A sample that is played back grows by a token a step, like those beside it, so that what a policy
cancels costs what it would have cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from lorid_edge.engine.engine import Engine
from lorid_edge.engine.lane import LaneTokens, Progress
from lorid_edge.engine.sequence import CalculatorCall, Finish, GenerationRequest, Sequence
from lorid_edge.loop.deliberation import sample_seed
from lorid_edge.roles import Role

SampleKey = tuple[str, int]
"""A question, and the seed of one of its samples."""


@dataclass
class RecordedSample:
    """What a finished `Sequence` shows to the loop."""

    text: str
    tokens: list[int]
    finish: Finish | None
    forced_tokens: int = 0
    calculator_calls: list[CalculatorCall] = field(default_factory=list)
    mean_entropy_nats: float | None = None

    @property
    def is_cut(self) -> bool:
        return self.finish is Finish.LENGTH


class RecordedSamples:
    """Finished samples by question and seed, read from solutions."""

    def __init__(self) -> None:
        self._samples: dict[SampleKey, dict[str, Any]] = {}

    def add(self, solution: dict[str, Any]) -> None:
        """Keep the samples of a solution that ended by themselves."""
        for sample in solution["samples"]:
            if sample["finish"] != Finish.CANCELLED.value:
                seed = sample_seed(solution["seed"], Role(sample["role"]), sample["index"])
                self._samples[solution["question"].strip(), seed] = sample

    def find(self, question: str, seed: int) -> RecordedSample | None:
        """The sample, with one placeholder for each token and calculator result it had."""
        sample = self._samples.get((question.strip(), seed))
        if sample is None:
            return None
        results, corrections = sample["calculator_results"], sample["calculator_corrections"]
        calls = [CalculatorCall("", differed=i < corrections) for i in range(results)]
        return RecordedSample(
            sample["text"],
            [0] * sample["tokens"],
            Finish(sample["finish"]),
            calculator_calls=calls,
            mean_entropy_nats=sample.get("entropy_nats"),
        )


class RecordedEngine:
    """Stands in front of an engine; `questions` are those of the current run, by position."""

    def __init__(self, engine: Engine, samples: RecordedSamples) -> None:
        self._engine = engine
        self._samples = samples
        self._playing: dict[int, tuple[RecordedSample, int]] = {}
        self._next_ticket = -1
        self.questions: list[str] = []

    @property
    def has_work(self) -> bool:
        return bool(self._playing) or self._engine.has_work

    @property
    def reading(self) -> int | None:
        return self._engine.reading

    def submit(self, request: GenerationRequest) -> int:
        sample = self._samples.find(self.questions[request.group], request.seed)
        if sample is None:
            return self._engine.submit(request)
        ticket, self._next_ticket = self._next_ticket, self._next_ticket - 1
        self._playing[ticket] = sample, 0
        return ticket

    def step(self) -> list[Progress]:
        progress = self._engine.step() if self._engine.has_work else []
        for ticket, (sample, steps) in list(self._playing.items()):
            if steps + 1 >= len(sample.tokens):
                del self._playing[ticket]
                progress.append(Progress(ticket, cast(Sequence, sample), sample.text))
            else:
                self._playing[ticket] = sample, steps + 1
        return progress

    def cancel(self, ticket: int) -> Sequence | None:
        if ticket not in self._playing:
            return self._engine.cancel(ticket)
        sample, steps = self._playing.pop(ticket)
        return cast(Sequence, RecordedSample("", sample.tokens[:steps], Finish.CANCELLED))

    def release(self, group: int) -> LaneTokens:
        return self._engine.release(group)

    def reset(self) -> None:
        self._playing.clear()
        self._engine.reset()

    def abort(self) -> None:
        self._engine.abort()

    def close(self) -> None:
        self._engine.close()
