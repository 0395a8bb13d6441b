"""Knowledge and chains without their problems are joined with them by the problem's id."""

from __future__ import annotations

import pytest

from lorid_edge.data.notes import NotedProblems
from lorid_edge.data.record import FormError, Record

RECORD = Record(
    id="gsm8k-train-00012", question="How many?", rationale="1 + 2 = 3", answer="3", knowledge=()
)


def noted() -> NotedProblems:
    return NotedProblems(lambda: {RECORD.id: RECORD})


def test_a_note_gets_its_problem() -> None:
    completed = noted().complete({"id": RECORD.id, "knowledge": ["Add the parts."]})
    assert Record.model_validate(completed) == RECORD.model_copy(
        update={"knowledge": ("Add the parts.",)}
    )


def test_a_note_that_is_a_chain_takes_the_place_of_the_rationale() -> None:
    completed = noted().complete({"id": RECORD.id, "rationale": "2 + 1 = 3"})
    assert Record.model_validate(completed) == RECORD.model_copy(update={"rationale": "2 + 1 = 3"})


def test_a_note_of_no_known_problem_is_refused() -> None:
    with pytest.raises(FormError, match="gsm8k-train-06973 is no problem"):
        noted().complete({"id": "gsm8k-train-06973", "knowledge": ["Add the parts."]})


@pytest.mark.parametrize(
    "content",
    [
        {"id": RECORD.id, "question": "Another?", "knowledge": ["Add."]},
        {"id": "7", "knowledge": ["Add."]},
        {"id": RECORD.id},
        {"problem": "Another?", "rationale": "1 + 1 = 2", "answer": "2"},
        ["Add."],
    ],
)
def test_anything_else_stays_as_it_is_and_loads_nothing(content: object) -> None:
    def never() -> dict[str, Record]:
        raise AssertionError("the data set was loaded")

    assert NotedProblems(never).complete(content) is content
