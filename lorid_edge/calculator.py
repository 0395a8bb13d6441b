r"""Computes arithmetic that a text spells out, exactly.

While a sample is generated, an expression directly followed by an equals sign has one right
continuation; `forced_result` returns it, so that it need not be sampled. It answers only where
the text leaves no doubt what the expression is: "2x + 3 =" and "half of 16 + 2 =" get nothing.
Pure text: tokens and models are the caller's business.
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from lorid_edge.arithmetic import (
    MAX_EXPRESSION_CHARACTERS,
    Calculation,
    Token,
    calculate,
    evaluate,
    tokenise,
)

__all__ = ["evaluate", "forced_result"]

_MAX_FORCED_DIGITS = 15
_MAX_FORCED_DECIMALS = 6

# Words that make the number after them an operand of their own: "twice 3 + 4" is 10, not 7.
_OPERATING_WORDS = frozenset(
    (
        *("plus", "minus", "times", "by", "over", "per", "of", "than", "less", "more", "negative"),
        *("half", "third", "quarter", "twice", "thrice", "double", "triple"),
        *("sum", "square", "squared", "cube", "root", "mod", "modulo"),
        *("sqrt", "log", "ln", "sin", "cos", "tan", "x"),
    )
)
# Words that do so between two numbers: "1 and 1/4", "5 choose 2 * 3", "subtract 5 from 8 + 7".
_JOINING_WORDS = frozenset(("and", "choose", "from"))
_LIST_MARK = r"\s*(?:\d{1,2}[.)]|[-*•])\s+"
_BOLD = re.compile(r"(?:(?<=\s)|(?<=[:(])|^)\*\*(?=[\d($\\])")
_ENDING = re.compile(r"(?P<gap> ?)=(?P<after> *)(?P<currency>\\?[$€£])?\Z")


def forced_result(text: str) -> str | None:
    """Return what completes a text that ends with an expression and an equals sign, or None.

    `text` is all that was generated so far; only its last 200 characters are read. The result
    takes over the style of the expression: the space around the equals sign, its currency sign,
    its thousands separators, and the closing marks of a calculator annotation ("<<48/2=" gives
    "24>>"). Decimals are forced when they end within six places.
    """
    window = text[-MAX_EXPRESSION_CHARACTERS:]
    above, _, line = window.rpartition("\n")
    ending = _ENDING.search(line)
    if ending is None or _closes_formula(window, ending):
        return None
    if re.search(r"[\w)]\s*[-+*/×÷−]\s*\Z", above):
        return None  # the expression began on the line above
    body = line[: ending.start()]
    begins_line = len(line) < len(window) or len(text) <= MAX_EXPRESSION_CHARACTERS
    if begins_line:
        body = re.sub(rf"\A{_LIST_MARK}", "", body)
    body = _BOLD.sub(" ", body)
    found = _trailing_expression(body, begins_line)
    if found is None:
        return None
    expression, annotated = found
    calculation = calculate(expression)
    if calculation is None or not calculation.binary_operators:
        return None
    written = "".join(token.text for token in expression)
    if _doubtful_percent(calculation, written, body) or _holds_clock_time(expression):
        return None
    value = calculation.value
    digits = _decimal_text(value, separated=any("," in token.text for token in expression))
    if digits is None:
        return None
    if ending["currency"]:
        return digits
    sign = "" if annotated else _currency_sign(expression, window)
    space = " " if ending["gap"] and not ending["after"] else ""
    minus = "-" if value < 0 else ""
    return f"{space}{minus}{sign}{digits.removeprefix('-')}{'>>' if annotated else ''}"


def _trailing_expression(body: str, begins_line: bool) -> tuple[list[Token], bool] | None:
    """Return the tokens of the expression that ends the text, and whether "<<" opens it.

    None when what stands before it would change its value, or lies outside the window.
    """
    tokens = list(tokenise(body))
    start = len(tokens)
    depth = 0
    while start > 0:
        token = tokens[start - 1]
        if token.text in (")", "}"):
            depth += 1
        elif token.text in ("(", "{"):
            if depth == 0:
                break
            depth -= 1
        elif token.kind not in ("space", "number", "operator", "currency", "fraction"):
            break
        start -= 1
    if depth or (start <= 1 and not begins_line):
        return None  # unbalanced, or what stands before it is cut off by the window
    expression = tokens[start:]
    spaced = bool(expression) and expression[0].kind == "space"
    expression = expression[1:] if spaced else expression
    before = tokens[start - 1] if start else None
    if not expression or not _is_boundary(before, tokens[:start], expression, spaced):
        return None
    if expression[0].kind == "currency" and expression[1].kind == "space":
        expression = expression[2:]  # "$ 48 / 2 =": a LaTeX delimiter
    return expression, before is not None and before.text == "<<"


def _is_boundary(
    before: Token | None, preceding: list[Token], expression: list[Token], spaced: bool
) -> bool:
    """Tell whether an expression is whole, given the token before it."""
    first = expression[0]
    if len(expression) < 2:
        return False
    if first.kind == "operator":
        # A sign belongs to its number only where no operand can stand before it.
        glued = first.text in "-−+" and expression[1].kind != "space"
        opens = before is None or (before.text in ("=", "(", ":", "<<", "\\(", "\\["))
        if not (glued and opens):
            return False
    if before is None:
        return True
    if before.kind == "word":
        word = before.text.lower()
        if word in _JOINING_WORDS and any(token.kind == "number" for token in preceding[-3:-1]):
            return False
        is_variable = len(word) == 1 and word not in "ai"
        return spaced and not is_variable and word not in _OPERATING_WORDS
    if before.text in ("(", "{", "<<", "=", "≈", "\\(", "\\[", "→"):
        return not (before.text == "=" and len(preceding) > 1 and preceding[-2].text == "=")
    if before.text == ":" and not spaced:
        return len(preceding) < 2 or preceding[-2].kind != "number"
    return before.kind == "delimiter" and (spaced or before.text in ("[", '"'))


def _doubtful_percent(calculation: Calculation, written: str, body: str) -> bool:
    """Tell whether a percentage may have been meant in another unit than its exact value.

    "50% + 20% =" is usually continued with 70%, and "20% (50) =" or "30%($200) =" a product.
    """
    if re.search(r"[\d)]\\?%\s+[\d(.$]|\b100\\?%", body):
        return True
    if re.search(r"%\s*[^\s\d]", written) and "%" in calculation.binary_operators:
        return True
    return calculation.percentages > 0 and (
        set(calculation.binary_operators) != {"*"}
        or calculation.percentages > len(calculation.binary_operators)
    )


def _holds_clock_time(expression: list[Token]) -> bool:
    """Tell whether a number has a leading zero: 0900 - 0130 counts minutes, not units."""
    return any(
        token.kind == "number" and token.text[:2].isdigit() and token.text[0] == "0"
        for token in expression
    )


def _decimal_text(value: Fraction, separated: bool) -> str | None:
    """Print a value of at most 15 digits that ends within six decimals; None for others."""
    scale = 10**_MAX_FORCED_DECIMALS
    if scale % value.denominator or abs(value) >= 10**_MAX_FORCED_DIGITS:
        return None
    whole, millionths = divmod(abs(value.numerator) * (scale // value.denominator), scale)
    decimals = f"{millionths:06d}".rstrip("0")
    digits = f"{whole:,}" if separated else str(whole)
    return f"{'-' if value < 0 else ''}{digits}{'.' if decimals else ''}{decimals}"


def _currency_sign(expression: list[Token], window: str) -> str:
    """Return the currency sign that the result takes over from its operands, or ""."""
    signs = [index for index, token in enumerate(expression) if token.kind == "currency"]
    if not signs:
        return ""
    sign = expression[signs[0]].text
    meaningful = [token for token in expression if token.kind != "space"]
    for divisor, operand in pairwise(meaningful):
        if operand.kind == "currency" and divisor.operator == "/":
            return ""  # money by money is a number
    opens_expression = signs == [0]
    if sign == "$" and opens_expression and _has_latex(window):
        return ""
    return sign


def _has_latex(window: str) -> bool:
    """Tell whether dollar signs in a text may be delimiters: "$x$", "$3 + 4 = 7$", a command."""
    return "\\" in window or re.search(r"\$(?!\d|\.\d)", window) is not None


def _closes_formula(window: str, ending: re.Match[str]) -> bool:
    """Tell whether the dollar sign after an equals sign may close a formula."""
    return ending["currency"] == "$" and (not ending["after"] or _has_latex(window[:-1]))
