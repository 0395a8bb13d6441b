"""From records to token examples: prompts exactly as the runtime asks, targets as roles answer.

Not responsible for where records come from (`lorid_edge.data`), nor for the words of a target
(`targets`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from lorid_edge.data.record import Record
from lorid_edge.loop.prompts import Asking, RolePrompts, Vocabulary
from lorid_edge.roles import Role
from lorid_edge.train.job import TokenExample
from lorid_edge.train.targets import (
    Annotations,
    as_calculated,
    calculator_results,
    knowledge_text,
    solution_text,
)


@dataclass(frozen=True)
class Lesson:
    """One example in words: what a role is asked, and what it is taught to reply.

    `knowledge` is what the deep reasoner is handed; "" for the other roles.
    """

    question: str
    target: str
    knowledge: str = ""


@dataclass(frozen=True)
class Curriculum:
    """How records become lessons: the form of rationales and of the final answer."""

    annotations: Annotations
    answer_format: str

    def lessons(
        self, role: Role, reasoning: Iterable[Record], knowledge: Iterable[Record]
    ) -> list[Lesson]:
        """All lessons for a role; records that lack what it needs give none.

        Args:
            reasoning: records with a rationale and an answer.
            knowledge: records with knowledge. The deep reasoner is taught with the rationales of
                `reasoning` whose question they share; where there is none, with their own.
        """
        if role is Role.INTUITIVE_REASONER:
            return [
                Lesson(record.question, target)
                for record in reasoning
                if (target := self._solution(record))
            ]
        taught = [record for record in knowledge if record.knowledge]
        if role is Role.KNOWLEDGE_GENERATOR:
            return [Lesson(record.question, knowledge_text(record.knowledge)) for record in taught]
        return self._deep_lessons(reasoning, taught)

    def _deep_lessons(self, reasoning: Iterable[Record], taught: list[Record]) -> list[Lesson]:
        solutions: dict[str, list[str]] = {}
        for record in reasoning:
            if target := self._solution(record):
                solutions.setdefault(record.question.strip(), []).append(target)
        lessons = []
        for record in taught:
            own = [target] if (target := self._solution(record)) else []
            for target in solutions.get(record.question.strip(), own):
                lessons.append(Lesson(record.question, target, knowledge_text(record.knowledge)))
        return lessons

    def _solution(self, record: Record) -> str | None:
        if record.rationale is None or record.answer is None:
            return None
        rationale = as_calculated(self.annotations.apply(record.rationale))
        return solution_text(rationale, record.answer, self.answer_format)


class ExampleVocabulary(Vocabulary, Protocol):
    """What making and showing token examples needs of a base. See `engine.Model`."""

    def continuation_tokens(self, text: str) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...
    def special_text(self, token: int) -> str: ...


class ExampleMaker:
    """Turns lessons into token ids with the base's own tokenizer and prompts."""

    def __init__(self, vocabulary: ExampleVocabulary, asking: Asking) -> None:
        """Render the prompts. Raises PackError if the base's chat template cannot be rendered."""
        self._vocabulary = vocabulary
        self._prompts = RolePrompts(vocabulary, asking)
        self._end = self._prompts.end_of_turn()

    def make(self, role: Role, lesson: Lesson) -> TokenExample:
        """The prompt as the runtime gives it, and the target with the token that ends the turn."""
        prompt = self._prompts.build(role, lesson.question, lesson.knowledge)
        tokens = (
            self._vocabulary.tokenize(lesson.target, special=False)
            if role is Role.KNOWLEDGE_GENERATOR
            else self._solution_tokens(lesson.target)
        )
        return TokenExample(prompt.tokens, (*tokens, self._end))

    def _solution_tokens(self, text: str) -> list[int]:
        """The tokens as they fall when the calculator writes its results by itself.

        A tokenizer may have a token for "=$", which would straddle the place where the runtime
        begins to write.
        """
        tokens: list[int] = []
        done = 0
        for begin, end, is_same in calculator_results(text):
            if is_same and begin >= done:
                tokens += self._part(text, done, begin)
                tokens += self._vocabulary.continuation_tokens(text[begin:end])
                done = end
        return tokens + self._part(text, done, len(text))

    def _part(self, text: str, begin: int, end: int) -> list[int]:
        if begin == 0:
            return self._vocabulary.tokenize(text[begin:end], special=False)
        return self._vocabulary.continuation_tokens(text[begin:end]) if begin < end else []
