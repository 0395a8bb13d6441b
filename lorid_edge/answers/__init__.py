"""What a chain of thought states as its answer, and when two answers are the same."""

from __future__ import annotations

from lorid_edge.answers.equivalence import (
    AnswerClusters,
    AnswerKey,
    answer_key,
    expect_more_answers,
    normalise_answer,
    reference_answer,
    same_answer,
)
from lorid_edge.answers.extraction import extract_answer

__all__ = [
    "AnswerClusters",
    "AnswerKey",
    "answer_key",
    "expect_more_answers",
    "extract_answer",
    "normalise_answer",
    "reference_answer",
    "same_answer",
]
