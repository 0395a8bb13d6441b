"""What counts as the stated answer, its normal form, and which answers are the same."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorid_edge.answers import (
    AnswerClusters,
    answer_key,
    extract_answer,
    normalise_answer,
    reference_answer,
    same_answer,
)

# text of a finished chain of thought, the answer that it states
STATED = [
    (r"The answer is \boxed{42", "42"),
    (r"The answer is \boxed{\frac{1}{2}", r"\frac{1}{2}"),
    # boxed
    (r"The answer is \(\boxed{18}\)", "18"),
    (r"the final answer is: $\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
    (r"First \boxed{3}, and after checking \boxed{5}.", "5"),
    (r"\boxed{\text{yes}}", r"\text{yes}"),
    (r"\boxed{7} and then \boxed{\frac{1}{", "7"),
    (r"\boxed{} or rather #### 4", "4"),
    (r"\boxed{12} leaves 5 eggs.", "12"),
    (r"\boxed{\left( 3, \frac{\pi}{2} \right)}", r"\left( 3, \frac{\pi}{2} \right)"),
    # GSM8K's mark
    ("9 * 2 = 18\n#### 18", "18"),
    ("#### $18", "$18"),
    ("#### -7", "-7"),
    ("#### 1,200", "1,200"),
    ("#### 18 eggs", "18 eggs"),
    ("#### Step 1: Find 3\nSo the total is 5", "5"),
    ("#### 1. Count the eggs\n16 - 3 = 13\n#### 2. Sell them\n13 * 2 = 26", "26"),
    ("#### Conclusion\nShe makes $18 every day.", "$18"),
    ("#### Answer: 18", "18"),
    # a statement
    ("Answer: 18", "18"),
    ("Answer: 18 dollars", "18 dollars"),
    ("**Answer:** 18 eggs", "18 eggs"),
    ("**Answer: 18**", "18"),
    ("**Answer:**\n$18$", "18"),
    ("Final answer: 42", "42"),
    ("The answer is $18.", "$18"),
    ("The answer is:\n18", "18"),
    ("the answer is -5", "-5"),
    ("The correct answer is 3.5.", "3.5"),
    ("The answer to the question is 18.", "18"),
    ("The answer is 1,234 dollars.", "1,234 dollars"),
    ("The answer is 50%.", "50%"),
    ("answer is 3 1/2 cups", "3 1/2 cups"),
    ("The final answer is 18. I hope it is correct.", "18"),
    ("The answer is 18 because 9 * 2 = 18", "18"),
    ("The answer is 18 since x = 9.", "18"),
    ("Answer: 16 - 3 - 4 = 9", "9"),
    ("Answer: x = 5", "5"),
    ("Answer: She makes $18 every day.", "$18"),
    ("Answer: $18 per day for the eggs she sells at the market", "$18"),
    ("Answer: about 12", "12"),
    ("Answer: (1, 2)", "(1, 2)"),
    ("Answer: $[0, 1)$", "[0, 1)"),
    ("Answer: 5(x + 1)", "5(x + 1)"),
    ("#### 110_{2}", "110_{2}"),
    ("The answer is 18 (eggs).", "18"),
    (r"Answer: $2\pi$", r"2\pi"),
    (r"Answer: \(\frac{3}{4}\)", r"\frac{3}{4}"),
    (r"The answer is $\sqrt{2}$.", r"\sqrt{2}"),
    ("Answer: $x^2 + 1$", "x^2 + 1"),
    ("The answer is x < 3.", "x < 3"),
    ("The answer is (C).", "C"),
    ("Answer: (C) 18", "C"),
    ("Answer: yes", "yes"),
    ("The answer is Monday.", "Monday"),
    # which of several statements
    ("Answer: 18\nLet me check that. Answer: 20", "20"),
    ("Answer: 18. Wait, that is a mistake.\nSo she makes $20 every day.", "$20"),
    ("Answer: Janet has 16 - 3 = 13.\nShe makes 9 * 2 = $18.", "$18"),
    ("Answer: 18\n\nQuestion: Tom has 5 apples.\nAnswer: 7", "18"),
    ("Question: Tom has 3 apples?\nAnswer: 4", "4"),
    # a conclusion
    ("So, Janet makes $18 every day.", "$18"),
    ("16 - 7 = 9 eggs.", "9 eggs"),
    ("Therefore, the total is 18.", "18"),
    ("9 * 2 = <<9*2=18>>18 dollars", "18 dollars"),
    ("So in 2020 he had 18 apples.", "18"),
    ("On the 3rd day she made $18.", "$18"),
    ("She has read 30 of the 120 pages.", "30"),
    ("So she reads 30 of 120 pages.", "30"),
    ("That makes for a total of about 120 pages in 3 days.", "120"),
    ("So she arrives at 3:30 PM.", "3:30 PM"),
    ("So the 3 friends pay $20 in total.", "$20"),
    ("Therefore, Tom needs 12 hours to finish 3 books.", "12"),
    ("\\[\n9 \\times 2 = 18\n\\]", "18"),
    (r"$$x = \frac{1}{2}$$", r"\frac{1}{2}"),
    ("Hence $x = 7$.", "7"),
    ("The total cost is $18.50.", "$18.50"),
    ("She is left with **9** eggs.", "9"),
    ("If they share, each gets 108 hats / 2 people = 54 hats/person", "54 hats/person"),
    ("So it took 5*2=10 hours to recover everyone", "10"),
    ("There are 8 dice because 4 plus 4 equals 8.", "8"),
    # two quantities that are no compound one
    ("In 2 hours, 30 eggs are laid.", "30"),
    ("She works 8 hours 5 days a week, so she earns $20.", "$20"),
    ("#### 18 eggs, 3 a day", "18"),
    ("The answer is 2 hours.", "2 hours"),
    ("2 hours 30 minutes = 150 minutes", "150 minutes"),
]

UNSTATED = [
    r"The answer is \boxed{",
    "",
    "I do not know.",
    "How many eggs does she sell for $2?",
    "Let me now compute with 3 eggs.",
    "Let x = 3.",
    "Step 2: Next we take the 16 eggs:",
    "16 - 3 =",
    "She has 16 - 3 = 13 eggs. Then she",
    "So she has 3 apples and 5 pears.",
    "The answer is not 18.",
    "Answer:",
    r"\boxed{",
    "####",
    "If she sells 9 eggs",
    # one answer of two quantities
    "#### 2 hours 30 minutes",
    "The answer is 2 hours 30 minutes.",
    "Answer: 1 hour, 20 minutes",
    "Answer: 5 feet 3 inches",
    "Answer: 3h 20m",
    "So it weighs 3 pounds 4 oz.",
]

# text that was cut off at the token limit, the answer that it states nonetheless
CUT_OFF = [
    (r"He has 12 left. The answer is \boxed{", None),
    (r"The answer is \boxed{12 app", None),
    (r"The answer is \boxed{\frac{1}{2", None),
    (r"First \boxed{3}, then \boxed{4", "3"),
    (r"So \boxed{18} is what", "18"),
    (r"\boxed{18}", "18"),
    ("#### 18\n", "18"),
    ("Answer: 18 dol", "18"),
    ("Answer: Janet has 16 - 3 = 13.\n", None),
    ("To find the answer: multiply 3 by 4.\n", None),
    ("Answer: 1", None),
    ("#### 1", None),
    (r"\boxed{1", None),
    ("16 - 7 = 9 eggs.", None),
    ("She makes 9 * 2 = 18", None),
    ("So, Janet makes $18 every day.", None),
]

NORMAL_FORMS = [
    # integers, decimals, separators
    ("18", "18"),
    ("18.", "18"),
    ("18.00", "18"),
    ("+5", "5"),
    ("007", "7"),
    ("0.50", "0.5"),
    (".5", "0.5"),
    ("1,234", "1234"),
    ("1,234,567.80", "1234567.8"),
    ("1{,}000", "1000"),
    (r"10\,000", "10000"),
    # negatives
    ("-5", "-5"),
    ("−5", "-5"),
    ("- 5", "-5"),
    ("-0", "0"),
    ("-.5", "-0.5"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    # currency, percent
    ("$1,234.50", "1234.5"),
    (r"\$5", "5"),
    ("€18", "18"),
    ("USD 18", "18"),
    ("50%", "50"),
    (r"5\%", "5"),
    ("12.5 percent", "12.5"),
    # fractions and mixed numbers
    ("1/2", "1/2"),
    ("2/4", "1/2"),
    ("4/2", "2"),
    ("3 1/2", "7/2"),
    ("½", "1/2"),
    ("3½", "7/2"),
    (r"\frac{1}{2}", "1/2"),
    (r"\dfrac12", "1/2"),
    (r"-\frac{1}{2}", "-1/2"),
    (r"\frac{-1}{2}", "-1/2"),
    (r"3\frac{1}{2}", "7/2"),
    (r"$x=\frac{3}{6}$", "1/2"),
    ("1/0", "1/0"),
    # units and magnitudes
    ("18 dollars", "18"),
    ("18 eggs per day", "18"),
    ("5cm", "5"),
    ("5 cm^2", "5"),
    ("5 cm²", "5"),
    ("60 km/h", "60"),
    ("3/4 of the pizza", "3/4"),
    (r"5\text{ cm}", "5"),
    (r"5 \text{ cm}^2", "5"),
    (r"5 \text{ in}^{2}", "5"),
    (r"12\text{ units}^2", "12"),
    ("5 m^2", "5"),
    ("5 m/s", "5"),
    ("5 m/s^2", "5"),
    ("5 x^2", "5 x^2"),
    ("5 x/y", "5 x/y"),
    (r"36\pi\text{ cm}^3", r"36\pi cm^3"),
    ("5 meters squared", "5"),
    ("25cm squared", "25"),
    ("5m cubed", "5"),
    ("5 squared", "5 squared"),
    ("2 thirds", "2 thirds"),
    ("12 quarters", "12"),
    ("48 halves", "48"),
    ("3 fifth graders", "3"),
    (r"90^\circ", "90"),
    ("90°", "90"),
    ("90 degrees", "90"),
    ("21st", "21"),
    ("$2 million", "2000000"),
    ("about 12 hours", "12"),
    # scientific notation
    ("1.2e3", "1200"),
    ("1e-3", "0.001"),
    (r"1.2 \times 10^3", "1200"),
    ("6.02*10^{23}", "602000000000000000000000"),
    ("10^3", "1000"),
    # what a name is given
    ("x = 5", "5"),
    ("16 - 7 = 9", "9"),
    ("x + y = 5", "x + y = 5"),
    ("x <= 5", "x <= 5"),
    # other mathematics
    ("(1, 2)", "(1, 2)"),
    (r"\left(1.0,2\right)", "(1, 2)"),
    ("[0,1)", "[0, 1)"),
    ("1,2", "1, 2"),
    (r"\{1,2\}", r"\{1, 2\}"),
    (r"2\pi", r"2\pi"),
    (r"$\sqrt{2}$", r"\sqrt{2}"),
    ("2x", "2x"),
    ("5!", "5!"),
    # choices and words
    ("(A)", "A"),
    ("B.", "B"),
    ("option c", "C"),
    ("Yes.", "Yes"),
    (r"\text{Monday}", "Monday"),
    ("3:30", "3:30"),
    ("3 pm", "3 pm"),
    ("", ""),
    # never computed
    ("9**9**9", "9**9**9"),
    ("1e999999999", "1e999999999"),
    ("10^10^10", "10^10^10"),
]

SAME = [
    ("0.5", "1/2"),
    ("0.5", r"\frac{1}{2}"),
    ("7/2", "3 1/2"),
    ("50%", "50"),
    ("50 percent", "50%"),
    ("$18", "18 dollars"),
    ("1,000", "1000.0"),
    ("1e3", "1000"),
    ("Yes", "yes"),
    ("(A)", "A"),
    ("(1/2, 3)", "(0.5, 3)"),
    ("[0,1)", "[0, 1)"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"2\pi", "2 pi"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    ("x^2-1", "(x-1)(x+1)"),
    ("1, 2", "2, 1"),
    (r"\{1,2\}", "2, 1"),
    ("2^3", "8"),
    (r"36\pi\text{ cm}^3", r"36\pi"),
    (r"5\sqrt{2} cm", r"5\sqrt{2}"),
    (r"36\pi \text{ square units}", r"36\pi"),
    (r"\pi ^2", r"\pi^2"),
    ("1202_3", "1202_{3}"),
    (r"[0,\infty)", r"[0,+\infty)"),
]

DIFFERENT = [
    ("18", "19"),
    ("18", "-18"),
    ("18", "1.8"),
    ("1,234", "1.234"),
    ("1000", "1,0000"),
    ("50%", "0.5"),
    ("1/3", "0.33"),
    ("1/3", "0.333333"),
    ("3 1/2", "31/2"),
    ("1/2", "2/1"),
    ("1e3", "1e4"),
    ("18", "eighteen"),
    ("18", "18 and 20"),
    ("3", "3 pm"),
    ("3 am", "3 pm"),
    ("3:30", "3"),
    ("2", "2x"),
    ("2", r"2\pi"),
    ("2 thirds", "2"),
    ("5 squared", "5"),
    ("5 cubed", "5"),
    ("5 x/y", "5"),
    ("5 x^2", "5"),
    (r"36\pi\text{ cm}^3", r"12\pi\text{ cm}^3"),
    (r"36\pi x^2", r"36\pi"),
    ("x^2", "x"),
    (r"2\pi", "6.283185"),
    (r"2\sqrt{3}", r"3\sqrt{2}"),
    ("(1, 2)", "(2, 1)"),
    ("(1, 2)", "12"),
    ("(1, 2)", "1, 2"),
    ("[0, 1)", "(0, 1)"),
    ("[0, 1)", "[0, 1]"),
    ("x + 1", "y + 1"),
    ("x > 3", "x < 3"),
    ("1202_3", "1202"),
    ("1202_3", "47"),
    ("A", "B"),
    ("yes", "no"),
    ("no", "on"),
    ("5!", "5"),
    ("9**9**9", "5"),
    ("1e999999999", "1e999999998"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "answer"), STATED)
def test_a_finished_text_states_its_answer(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize("text", UNSTATED)
def test_a_mentioned_number_is_no_answer(text: str) -> None:
    assert extract_answer(text) is None


@pytest.mark.parametrize(("text", "answer"), CUT_OFF)
def test_in_a_text_cut_off_only_whole_marked_answers_count(text: str, answer: str | None) -> None:
    assert extract_answer(text, complete=False) == answer


@pytest.mark.parametrize(("raw", "normal"), NORMAL_FORMS)
def test_normal_form(raw: str, normal: str) -> None:
    assert normalise_answer(raw) == normal
    assert normalise_answer(normal) == normal


@pytest.mark.parametrize(("first", "second"), SAME)
def test_same(first: str, second: str) -> None:
    assert same_answer(first, second)
    assert same_answer(second, first)


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different(first: str, second: str) -> None:
    assert not same_answer(first, second)
    assert not same_answer(second, first)


def test_a_reference_is_what_follows_the_mark() -> None:
    assert reference_answer("9 * 2 = <<9*2=18>>18\n#### 18\n") == "18"
    assert reference_answer(" \\frac{1}{2} ") == r"\frac{1}{2}"


def test_a_huge_text_is_no_expression() -> None:
    assert not same_answer("x+" * 5000 + "1", "1")


numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.integers(-(10**9), 10**9).map(lambda value: f"{value:,}"),
    st.decimals(-(10**9), 10**9, places=4).map(str),
    st.tuples(st.integers(-999, 999), st.integers(1, 999)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.tuples(st.integers(0, 999), st.integers(1, 99)).map(
        lambda pair: rf"\frac{{{pair[0]}}}{{{pair[1]}}}"
    ),
)


@given(numbers)
def test_numbers_equal_themselves_in_normal_form(number: str) -> None:
    assert same_answer(number, number)
    assert same_answer(number, normalise_answer(number))
    assert isinstance(answer_key(number), Fraction)


@given(numbers, numbers)
def test_numbers_are_the_same_exactly_when_their_values_are(first: str, second: str) -> None:
    expected = answer_key(first) == answer_key(second)
    assert same_answer(first, second) == same_answer(second, first) == expected


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_the_key_of_a_fraction_is_its_value(over: int, under: int) -> None:
    assert answer_key(f"{over}/{under}") == Fraction(over, under)


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=60), st.text("0123456789.,/-+ $%^\\{}()[]=xfrac!", max_size=30)))
def test_normalising_twice_changes_nothing_and_extraction_never_fails(text: str) -> None:
    normal = normalise_answer(text)
    assert normalise_answer(normal) == normal
    extract_answer(text)
    extract_answer(text, complete=False)


def test_clusters_group_equal_answers() -> None:
    clusters = AnswerClusters()
    answers = ["$18", r"\sqrt{8}", "18.0", r"2\sqrt{2}", "1/2", "18 dollars", "0.5", "yes", "Yes"]
    assert [clusters.add(answer) for answer in answers] == [0, 1, 0, 1, 2, 0, 2, 3, 3]
    assert clusters.representatives == ["18", r"\sqrt{8}", "1/2", "yes"]
    assert len(clusters) == 4


def test_numbers_need_neither_sympy_nor_a_process() -> None:
    program = (
        "import sys; from lorid_edge.answers import AnswerClusters, same_answer; "
        "clusters = AnswerClusters(); [clusters.add(str(n)) for n in range(9)]; "
        "assert same_answer('0.5', '1/2'); "
        "sys.exit(any(m in sys.modules for m in ('sympy', 'subprocess', 'math_verify')))"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).resolve().parents[1], check=True
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So the total is 5 * 3.", None),
        ("So she has 20 - 5 dollars left.", None),
        ("The answer is 20 - 2 eggs.", None),
        ("- So she has 15 dollars left.", "15"),
        (r"The final answer is $\$18.90$. I hope it is correct.", r"\$18.90"),
        (r"#### $\$18$", r"\$18"),
        ("The answer is 18. I hope this answer is helpful!", "18"),
        ("The answer is 18.\n\nSo the answer is correct.", "18"),
        ("The answer is Monday.", "Monday"),
        ("So the number is negative 5.", "-5"),
        ("The answer is 36π square inches.", None),
        ("The answer is 36π.", "36π"),
    ],
)
def test_no_number_is_made_of_pieces(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "calculation", [r"9 \times 2 = 18", r"\frac{36}{2} = 18", r"\$18 \times 1 = \$18"]
)
def test_a_calculation_in_a_box_is_its_result(calculation: str) -> None:
    assert same_answer(calculation, "18")
