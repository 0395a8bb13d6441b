"""What is inside a chain of thought: calculator annotations and the equations it goes through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from lorid_edge.arithmetic import Token, calculate, evaluate, tokenise

_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
_OPERAND_KINDS = frozenset(("number", "operator", "fraction", "bracket", "currency"))
_MAX_UNIT_TOKENS = 8
_MAX_OPERANDS = 64  # a model that repeats itself may write expressions without end


def without_annotations(rationale: str) -> str:
    """The text as it reads without GSM8K's calculator annotations: "<<48/2=24>>24" is "24"."""
    return _ANNOTATION.sub("", rationale)


def equations(rationale: str) -> tuple[str, ...]:
    """The equations of a chain in their order, each once, in a form that ignores how it is written.

    "3 trays * 12 rolls = $36" and "<<3*12=36>>36" both give "3*12=36". Two chains with the same
    equations are the same solution in other words.
    """
    found: dict[str, None] = {}
    for line in rationale.replace("–", "-").split("\n"):
        tokens = [token for token in tokenise(line) if token.kind != "space"]
        tokens = _without_units(_joined_by_of(tokens))
        for position, token in enumerate(tokens):
            if token.text == "=" and (equation := _equation_at(tokens, position)) is not None:
                found[equation] = None
    return tuple(found)


def _without_units(tokens: list[Token]) -> list[Token]:
    """Drop the words behind an operand: "3 trays * 12 rolls/tray = 36 rolls"."""
    kept: list[Token] = []
    unit: list[Token] = []
    for position, token in enumerate(tokens):
        per_unit = token.text == "/" and tokens[position + 1 : position + 2]
        if token.kind == "word" or (per_unit and per_unit[0].kind == "word"):
            unit.append(token)
            continue
        follows_operand = bool(kept) and (kept[-1].kind == "number" or kept[-1].text in ")%")
        ends_operand = token.kind == "operator" or token.text in ("=", ")")
        if not (follows_operand and ends_operand and len(unit) <= _MAX_UNIT_TOKENS):
            kept += unit
        unit = []
        kept.append(token)
    return kept + unit


def _joined_by_of(tokens: list[Token]) -> list[Token]:
    """Read "20% of 50" as a product, but not "2 tubes of gloss" or "sheets of 20"."""
    joined = list(tokens)
    for position in range(1, len(tokens) - 1):
        before, token, after = tokens[position - 1 : position + 2]
        if token.text.lower() == "of" and _is_operand(before) and _is_operand(after):
            joined[position] = Token("operator", "*")
    return joined


def _equation_at(tokens: Sequence[Token], equals: int) -> str | None:
    start = equals
    while start > max(0, equals - _MAX_OPERANDS) and _is_operand(tokens[start - 1]):
        start -= 1
    end = equals + 1
    while end < min(len(tokens), equals + _MAX_OPERANDS) and _is_operand(tokens[end]):
        end += 1
    left = _trimmed(tokens[start:equals])
    calculation = calculate(left)
    if calculation is None or not calculation.binary_operators:
        return None
    right = tokens[equals + 1 : end]
    value = _value(right)
    return None if value is None else f"{''.join(map(_canonical, left))}={value}"


def _is_operand(token: Token) -> bool:
    return token.kind in _OPERAND_KINDS


def _trimmed(tokens: Sequence[Token]) -> list[Token]:
    """Drop what a sentence may put in front of an expression: list marks and loose signs."""
    left = [token for token in tokens if token.kind != "currency"]
    while left and calculate(left) is None:
        left.pop(0)
    return left


def _value(right: Sequence[Token]) -> Fraction | None:
    """The value of the longest expression at the start of the right side."""
    tokens = [token for token in right if token.kind != "currency"]
    while tokens:
        calculation = calculate(tokens)
        if calculation is not None:
            return calculation.value
        tokens.pop()
    return None


def _canonical(token: Token) -> str:
    if token.kind == "number" and (value := evaluate(token.text)) is not None:
        return str(value)
    return token.operator
