r"""Reads an arithmetic expression and computes its exact value. No eval, bounded everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

MAX_EXPRESSION_CHARACTERS = 200
_MAX_DEPTH = 20
_MAX_EXPONENT = 64
_MAX_RESULT_DIGITS = 30

_TOKEN = re.compile(
    r"""
    (?P<space>(?:[ \t\u00a0]|\\[,;:!]|\\left(?![a-zA-Z])|\\right(?![a-zA-Z]))+)
  | (?P<number>(?:\d{1,3}(?:\{?,\}?\d{3})+(?!\{?,?\d)|\d+)(?:\.\d+)?|\.\d+)
  | (?P<fraction>\\[dt]?frac(?![a-zA-Z]))
  | (?P<operator>\*\*|[-+*/^%×÷·−]|\\%|\\(?:times|cdot|div)(?![a-zA-Z])
      |(?<=[\d )])[xX](?=\s*[\d$.])|(?<=[ )])[xX](?=\s*\())
  | (?P<currency>\\?[$€£])
  | (?P<bracket>[(){}])
  | (?P<delimiter>\\[(\[]|<<|[=≈:,;.!?\["'→]|--+>)
  | (?P<word>[A-Za-z][A-Za-z'’]*)
  | (?P<other>\\[a-zA-Z]*|.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_OPERATOR_NAMES = {
    "×": "*",
    "·": "*",
    "x": "*",
    "X": "*",
    r"\times": "*",
    r"\cdot": "*",
    "÷": "/",
    r"\div": "/",
    "−": "-",
    "**": "^",
    r"\%": "%",
}


@dataclass(frozen=True)
class Token:
    """A piece of text: a number, an operator, a bracket, a word..., as `kind` names it."""

    kind: str
    text: str

    @property
    def operator(self) -> str:
        """The one of + - * / ^ % that an operator stands for; the text itself elsewhere."""
        return _OPERATOR_NAMES.get(self.text, self.text) if self.kind == "operator" else self.text


@dataclass(frozen=True)
class Calculation:
    """The value of an expression, its binary operators as they were met, its percentages."""

    value: Fraction
    binary_operators: tuple[str, ...]
    percentages: int


def tokenise(text: str) -> Iterator[Token]:
    """Split any text into tokens that, joined, are the text again."""
    for match in _TOKEN.finditer(text):
        yield Token(match.lastgroup or "other", match.group())


def calculate(tokens: Sequence[Token]) -> Calculation | None:
    """Compute an expression; None when the tokens are none or a bound is exceeded."""
    parser = _Parser([token for token in tokens if token.kind != "space"])
    try:
        value = parser.parse()
    except _NoValueError:
        return None
    return Calculation(value, tuple(parser.binary_operators), parser.percentages)


def evaluate(expression: str) -> Fraction | None:
    r"""Return the exact value of an arithmetic expression; None for anything else. Never raises.

    Knows + - * / ^ ** and their typographic and LaTeX forms, \frac, parentheses, "12 x 3",
    thousands separators, and a currency sign before a number. % is the remainder before an
    operand and a percentage elsewhere: 17 % 5 is 2, 20% * 50 is 10; \% is always a percentage.
    Bounds: 200 characters, an integer exponent up to 64, numerator and denominator up to 30 digits.
    """
    if len(expression) > MAX_EXPRESSION_CHARACTERS or "\n" in expression:
        return None
    calculation = calculate(list(tokenise(expression)))
    return None if calculation is None else calculation.value


class _NoValueError(Exception):
    """The text is no expression, or its value is out of bounds."""


class _Parser:
    """Recursive descent over tokens; the grammar stands in the names of the methods."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._position = 0
        self._depth = 0
        self.binary_operators: list[str] = []
        self.percentages = 0

    def parse(self) -> Fraction:
        value = self._sum()
        if self._peek() is not None:
            raise _NoValueError
        return value

    def _peek(self) -> str | None:
        if self._position == len(self._tokens):
            return None
        return self._tokens[self._position].operator

    def _take(self, *expected: str) -> str | None:
        found = self._peek()
        if found not in expected:
            return None
        self._position += 1
        return found

    def _require(self, expected: str) -> None:
        if self._take(expected) is None:
            raise _NoValueError

    def _sum(self) -> Fraction:
        value = self._product()
        while operator := self._take("+", "-"):
            self.binary_operators.append(operator)
            right = self._product()
            value = _bounded(value + right if operator == "+" else value - right)
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while operator := self._take("*", "/", "%"):
            self.binary_operators.append(operator)
            right = self._signed()
            if operator != "*" and right == 0:
                raise _NoValueError
            if operator == "*":
                value = _bounded(value * right)
            else:
                value = _bounded(value / right if operator == "/" else value % right)
        return value

    def _signed(self) -> Fraction:
        if sign := self._take("-", "+"):
            with _Nesting(self):
                value = self._signed()
            return -value if sign == "-" else value
        return self._power()

    def _power(self) -> Fraction:
        base = self._percentage()
        if self._take("^") is None:
            return base
        self.binary_operators.append("^")
        with _Nesting(self):
            exponent = self._group("{", "}") if self._peek() == "{" else self._signed()
        if exponent.denominator != 1 or abs(exponent) > _MAX_EXPONENT:
            raise _NoValueError
        if base == 0 and exponent < 0:
            raise _NoValueError
        return _bounded(base ** int(exponent))

    def _percentage(self) -> Fraction:
        value = self._operand()
        if self._peek() == "%" and not self._operand_follows():
            self._take("%")
            self.percentages += 1
            return value / 100
        return value

    def _operand_follows(self) -> bool:
        """Whether the percent sign at hand stands before an operand: then it is a remainder."""
        if self._tokens[self._position].text == r"\%" or self._position + 1 == len(self._tokens):
            return False
        following = self._tokens[self._position + 1]
        return following.kind in ("number", "currency", "fraction") or following.text == "("

    def _operand(self) -> Fraction:
        if self._position == len(self._tokens):
            raise _NoValueError
        token = self._tokens[self._position]
        if token.text == "(":
            return self._group("(", ")")
        self._position += 1
        if token.kind == "fraction":
            self.binary_operators.append("/")
            over, under = self._group("{", "}"), self._group("{", "}")
            if under == 0:
                raise _NoValueError
            return _bounded(over / under)
        if token.kind == "currency" and self._position < len(self._tokens):
            token = self._tokens[self._position]
            self._position += 1
        if token.kind != "number":
            raise _NoValueError
        digits = re.sub(r"[,{}]", "", token.text)
        if len(digits) > _MAX_RESULT_DIGITS:
            raise _NoValueError
        return Fraction(f"0{digits}")

    def _group(self, opening: str, closing: str) -> Fraction:
        self._require(opening)
        with _Nesting(self):
            value = self._sum()
        self._require(closing)
        return value

    def deepen(self, by: int) -> None:
        self._depth += by
        if self._depth > _MAX_DEPTH:
            raise _NoValueError


class _Nesting:
    """Bounds the depth of recursion while it is entered."""

    def __init__(self, parser: _Parser) -> None:
        self._parser = parser

    def __enter__(self) -> None:
        self._parser.deepen(1)

    def __exit__(self, *_: object) -> None:
        self._parser.deepen(-1)


def _bounded(value: Fraction) -> Fraction:
    limit = 10**_MAX_RESULT_DIGITS
    if abs(value.numerator) >= limit or value.denominator >= limit:
        raise _NoValueError
    return value
