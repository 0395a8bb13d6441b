"""Arithmetic is computed exactly, and a result is forced only where there is no doubt."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorid_edge.calculator import evaluate, forced_result

VALUES = [
    ("5", 5),
    ("16 - 3 - 4", 9),
    ("2 + 3 * 4", 14),
    ("(2 + 3) * 4", 20),
    ("7/2", Fraction(7, 2)),
    ("1/3 + 1/6", Fraction(1, 2)),
    ("0.1 + 0.2", Fraction(3, 10)),
    (".5 * 4", 2),
    ("1,234 + 1", 1235),
    ("1{,}234 + 1", 1235),
    ("$48 * 2", 96),
    (r"\$5 + \$6", 11),
    ("20% * 50", 10),
    (r"20\% * 50", 10),
    ("17 % 5", 2),
    ("20%-5", Fraction(-24, 5)),
    (r"20\%-5", Fraction(-24, 5)),
    ("12 x 3", 36),
    ("12x3", 36),
    ("12 x (3 + 4)", 84),
    ("6 × 7", 42),
    ("48 ÷ 2", 24),
    ("6 · 7", 42),
    ("9 − 4", 5),
    (r"6 \times 7", 42),
    (r"6 \cdot 7", 42),
    (r"42 \div 7", 6),
    (r"\frac{1}{2} * 4", 2),
    (r"\left(2 + 3\right) \times 4", 20),
    ("2^3^2", 512),
    ("2**3", 8),
    ("2^{3}", 8),
    ("2**-3", Fraction(1, 8)),
    ("-2^2", -4),
    ("3 - -4", 7),
    ("-(2 + 3)", -5),
]

NO_VALUES = [
    "",
    "x",
    "2x",
    "5!",
    "1e9",
    "2(3)",
    "1 2",
    "1,23 + 1",
    "1.2.3",
    "1 +",
    "* 2",
    "(1 + 2",
    "1 + 2)",
    "1/0",
    "5 % 0",
    "0^-1",
    "2^0.5",
    "2^65",
    "9^9^9^9",
    "10^20 * 10^20",
    "(" * 100 + "1" + ")" * 100,
    "-" * 100 + "1",
    "9" * 10_000,
    "2 +\n3",
    "٣ + ٤",
    r"\sqrt{4}",
    r"20\%(150)",
    r"17 \% 5",
    "__import__('os')",
]

FORCED = [
    # spacing
    ("16 - 3 - 4 =", " 9"),
    ("16 - 3 - 4 = ", "9"),
    ("48/2=", "24"),
    ("<<48/2=", "24>>"),
    ("48/2 = <<48/2=", "24>>"),
    ("<<1/2*3=", "1.5>>"),
    # what stands before
    ("She has 16 - 3 - 4 =", " 9"),
    ("= 5 * 2 =", " 10"),
    ("3 + 4 = 7 * 2 =", " 14"),
    ("4 * 5 = 20, 20 / 2 =", " 10"),
    ("Total: 3 + 4 =", " 7"),
    ("Total:3+4=", "7"),
    ("(16 - 3 =", " 13"),
    ("so (3 + 4) * 2 =", " 14"),
    (r"\( 16 - 3 = ", "13"),
    (r"\[ 6 \times 7 =", " 42"),
    ("x <= 5 + 3 =", " 8"),
    ("5 eggs come from 8 + 7 =", " 15"),
    ("She may choose 2 * 3 =", " 6"),
    ("**16 - 3 =", " 13"),
    ("eggs. 16 - 3 =", " 13"),
    ("word " * 100 + "3 + 4 =", " 7"),
    ("y - \n\nso\n3 + 4 =", " 7"),
    ("**Step 1:**\n3 + 4 =", " 7"),
    # list marks
    ("- 48 / 2 =", " 24"),
    ("* 3 * 4 =", " 12"),
    ("1. 16 - 3 =", " 13"),
    ("2) 16 - 3 =", " 13"),
    ("Step 1: 16 - 3 =", " 13"),
    # values
    ("5 - 10 =", " -5"),
    ("-5 + 3 =", " -2"),
    ("7/2 =", " 3.5"),
    ("0.1 + 0.2 =", " 0.3"),
    ("2 * 3.50 =", " 7"),
    ("1/64 =", " 0.015625"),
    ("20% * 50 =", " 10"),
    (r"20\% \times 50 =", " 10"),
    ("20% * (150) =", " 30"),
    ("17 % 5 =", " 2"),
    ("17%5 =", " 2"),
    ("She gets 50%. So 3 + 4 =", " 7"),
    (r"That is $50\%$. So 3 + 4 =", " 7"),
    ("6 x 7 =", " 42"),
    (r"\frac{48}{2} =", " 24"),
    ("2020-2021 =", " -1"),
    # separators
    ("1,000 + 500 =", " 1,500"),
    ("1000 + 500 =", " 1500"),
    ("1,500 / 1,000 =", " 1.5"),
    # currency
    ("$48 / 2 =", " $24"),
    ("$48 * 2 = $", "96"),
    ("9 * $2 =", " $18"),
    ("$20 - $5 =", " $15"),
    ("$5 - $8 =", " -$3"),
    ("$48 / $2 =", " 24"),
    ("$100 * 20% =", " $20"),
    (r"\$48 \times 2 =", r" \$96"),
    (r"\$48 \times 2 = \$", "96"),
    ("€5 * 2 =", " €10"),
    # a dollar sign that may delimit a formula
    (r"$6 \times 7 =", " 42"),
    ("$x$ is $6 * 7 =", " 42"),
    ("$3 + 4 = 7$, and $48 / 2 =", " 24"),
    ("$ 48 / 2 =", " 24"),
]

NOT_FORCED = [
    # no whole expression
    "5 =",
    "=",
    "x =",
    "16 - 3",
    "16 - 3 = 1",
    "3 + 4 = 7 = ",
    "16 - 3\n=",
    "16 +\n3 - 1 =",
    # operands that are no numbers
    "2x + 3 =",
    "2x(3 + 4) =",
    "5x(2) =",
    "x * 2 + 3 =",
    "12 eggs + 3 =",
    "y - 16 - 3 =",
    "(x + 2) * 3 =",
    "f(3) + 2 =",
    "5 apples * 3 =",
    "16 eggs - 3 eggs =",
    "a/3 + 4 =",
    "b 3 + 4 =",
    "x_1 + 3 =",
    "5! + 3 =",
    "1e9 + 1 =",
    "x**16 - 3 =",
    r"\sqrt{9} + 3 =",
    r"\pi 3 + 4 =",
    "|3 - 5 =",
    "3 + 4) * 2 =",
    "{3 + 4} =",
    "(2 + 3)(4) =",
    "abc3 + 4 =",
    # numbers that are no operands
    "3:30 - 2 =",
    "1,2 + 3 =",
    "2020 16 - 3 =",
    "100 000 + 1 =",
    "12 1/2 + 3 =",
    "12/25/2020 =",
    "12 x 1 and 1/4 =",
    "0900 - 0130 =",
    "0.6 x 100% =",
    # words that calculate
    "half of 16 + 2 =",
    "twice 3 + 4 =",
    "16 divided by 3 + 4 =",
    "3 times 4 + 5 =",
    "10 minus 3 + 4 =",
    "5 choose 2 * 3 =",
    "subtract 5 from 8 + 7 =",
    # other relations
    "3 + 4 ==",
    "3 + 4 >=",
    "3 + 4 <=",
    "3 + 4 !=",
    "3 + 4 :=",
    "3 + 4 =>",
    # a formula that ends
    "16 - 3 =$",
    "$x$ and $9 * 2 = $",
    # results that are not exact in a short form, or in doubt
    "1/3 =",
    "1/128 =",
    "1/0 =",
    "1000000000000000 * 10 =",
    "50% + 20% =",
    "100% / 4 =",
    "20% (50) =",
    "20%(150) =",
    r"20\%(150) =",
    r"20\% \frac{1}{2} =",
    "150%(20) =",
    "30%($200) =",
    "25%(80) + 5 =",
    "(10 + 10)% 150 =",
    # beyond the window
    "9" * 500 + " + 1 =",
    "3 + " * 100 + "4 =",
    "9^9^9^9 =",
    "(" * 150 + "3 + 4" + ")" * 150 + " =",
]


@pytest.mark.parametrize(("expression", "value"), VALUES)
def test_value(expression: str, value: Fraction | int) -> None:
    assert evaluate(expression) == value


@pytest.mark.parametrize("expression", NO_VALUES)
def test_no_value(expression: str) -> None:
    assert evaluate(expression) is None


@pytest.mark.parametrize(("text", "result"), FORCED)
def test_forced(text: str, result: str) -> None:
    assert forced_result(text) == result


@pytest.mark.parametrize("text", NOT_FORCED)
def test_not_forced(text: str) -> None:
    assert forced_result(text) is None


def _combine(
    children: st.SearchStrategy[tuple[str, Fraction]],
) -> st.SearchStrategy[tuple[str, Fraction]]:
    """Join two expressions by an operator, working out the value next to the text."""

    def join(left: tuple[str, Fraction], operator: str, right: tuple[str, Fraction]):  # type: ignore[no-untyped-def]
        value = {
            "+": lambda: left[1] + right[1],
            "-": lambda: left[1] - right[1],
            "*": lambda: left[1] * right[1],
            "/": lambda: left[1] / right[1] if right[1] else left[1],
        }[operator]()
        if operator == "/" and not right[1]:
            return left
        return f"({left[0]}) {operator} ({right[0]})", value

    return st.builds(join, children, st.sampled_from("+-*/"), children)


leaves = st.one_of(
    st.integers(-99, 99).map(lambda number: (str(number), Fraction(number))),
    st.integers(0, 999).map(lambda number: (f"{number / 100:.2f}", Fraction(number, 100))),
)
expressions = st.recursive(leaves, _combine, max_leaves=5)


@given(expressions)
def test_values_match_fractions_built_alongside(expression: tuple[str, Fraction]) -> None:
    text, value = expression
    if len(text) <= 200:
        assert evaluate(text) == value


@given(st.lists(st.tuples(st.sampled_from("+-*"), st.integers(1, 99)), min_size=1, max_size=6))
def test_products_bind_tighter_than_sums(terms: list[tuple[str, int]]) -> None:
    text = "7 " + " ".join(f"{operator} {number}" for operator, number in terms)
    summands = [7]
    for operator, number in terms:
        if operator == "*":
            summands[-1] *= number
        else:
            summands.append(number if operator == "+" else -number)
    expected = sum(summands)
    assert evaluate(text) == expected
    assert forced_result(f"So {text} =") == f" {expected}"


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=80), st.text("0123456789 +-*/^%().,x$=<>\\{}\n", max_size=60)))
def test_nothing_fails_on_any_text(text: str) -> None:
    evaluate(text)
    result = forced_result(text + "=")
    assert result is None or len(result) <= 30


@given(st.text(max_size=400), st.integers(1, 99), st.integers(1, 99))
def test_only_the_end_of_a_text_matters(text: str, left: int, right: int) -> None:
    ending = f" {'word ' * 50}{left} + {right} ="
    assert forced_result(text + ending) == f" {left + right}"
