"""The words of targets: answers marked, annotations, and results as the calculator writes them."""

from __future__ import annotations

import pytest

from lorid_edge.answers import extract_answer
from lorid_edge.calculator import forced_result
from lorid_edge.train.targets import (
    Annotations,
    as_calculated,
    calculator_results,
    is_rule_list,
    knowledge_text,
    rules_of,
    solution_text,
)


@pytest.mark.parametrize("answer_format", ["boxed", "hash", "line"])
def test_the_runtime_finds_the_answer_of_a_target(answer_format: str) -> None:
    text = solution_text("She has 9 * 2 = 18 eggs.\n", "18", answer_format)
    assert text.startswith("She has 9 * 2 = 18 eggs.\n")
    assert extract_answer(text, complete=True) == "18"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("strip", "He pays 2*3 = 6 and half of that, 3."),
        ("keep", "He pays 2*3 = <<2*3=6>>6 and half of that, <<6/2=3>>3."),
        # The calculator reads "2*3 =" by itself; it cannot read "half of that".
        ("where_needed", "He pays 2*3 = 6 and half of that, <<6/2=3>>3."),
    ],
)
def test_annotations(kind: str, expected: str) -> None:
    rationale = "He pays 2*3 = <<2*3=6>>6 and half of that, <<6/2=3>>3."
    assert Annotations(kind).apply(rationale) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs 150-40 = $110.00 now.", "It costs 150-40 = 110 now."),
        ("That is 2009-2001= 8 years.", "That is 2009-2001=8 years."),
        ("That is 1.0-.4= .6, or so.", "That is 1.0-.4=0.6, or so."),
        ("It is $2 + $3=$5 then 5*2= $10.", "It is $2 + $3=$5 then 5*2=10."),
        ("<<5*25=125.00>>125.00", "<<5*25=125>>125.00"),
        ("A third is 10/3 = 3.33 each.", "A third is 10/3 = 3.33 each."),
        ("30/60= 1/2 of an hour", "30/60= 1/2 of an hour"),
        ("He says 2*3 = 7.", "He says 2*3 = 7."),
        ("10 * 5 = 50%", "10 * 5 = 50%"),
    ],
)
def test_results_are_written_as_the_calculator_writes_them(text: str, expected: str) -> None:
    assert as_calculated(text) == expected
    assert as_calculated(expected) == expected


def test_the_places_of_results_are_those_of_the_calculator() -> None:
    text = "First 3*4 = 12 eggs, then 12 + 5=17, and 17 - 2 = 16."
    for begin, end, is_same in calculator_results(text):
        assert forced_result(text[:begin]) is not None
        assert is_same is (forced_result(text[:begin]) == text[begin:end])
    assert [is_same for _, _, is_same in calculator_results(text)] == [True, True, False]


def test_knowledge_is_a_list_of_rules() -> None:
    text = knowledge_text(["Add the\nparts.", "Half is  a division by two."])
    assert text == "- Add the parts.\n- Half is a division by two."
    assert is_rule_list(text)
    assert rules_of(text) == ("Add the parts.", "Half is a division by two.")
    assert rules_of("* Add.\n\n •Halve.\n") == ("Add.", "Halve.")


@pytest.mark.parametrize("text", ["", "Rules:\n- Add.", "-", "- Add.\n" * 9, "She has 3."])
def test_what_is_no_list_of_rules(text: str) -> None:
    assert not is_rule_list(text)
