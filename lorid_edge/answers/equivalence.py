"""Decides when two stated answers are one and the same.

Numbers are compared as exact fractions, so 0.5 and 1/2 agree while 0.33 and 1/3 do not: a
tolerance would not be transitive, and votes are counted over classes of equal answers. What is
no number is compared as normalised text first, and only then, if it is mathematics, by
math-verify in a process of its own (see `symbolic`).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TypeAlias

from lorid_edge.answers.latex import encloses, plain_text, split_items
from lorid_edge.answers.numerals import read_numeral

AnswerKey: TypeAlias = Fraction | str
"""Equal keys mean equal answers: an exact number, or else a normalised text."""

# Longer answers are compared as text alone.
MAX_SYMBOLIC_CHARACTERS = 500
# A stated answer that is longer than this is no answer worth rewriting.
_MAX_CHARACTERS = 2000
_MAX_PASSES = 10

_CHOICE = re.compile(r"(?:(?:option|choice)\s+)?\(?([A-E])(?:\)|[).:]\s+\S.*)?", re.DOTALL)
_NAMED_OPTION = re.compile(r"(?:option|choice)\s+\(?([A-Ea-e])\)?", re.IGNORECASE)
_CALCULATION = re.compile(r"\\(?:times|cdot|div|[dt]?frac|sqrt)(?![A-Za-z])")
_BARE_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?(?:\s+[A-Za-z]+)*(?:\s?\([a-zA-Z]\))?")
_WORDS = re.compile(r"[A-Za-z]{2,}(?:[ '-]+[A-Za-z]+)*")
# Behind an expression; those behind a number are read with it.
_UNIT_AT_END = re.compile(
    r" (?:(?:square|cubic) )?(?:cm|mm|km|ft|inches|feet|meters|units)(?:\^\{?[23]\}?)?$"
)
_EXPRESSION = re.compile(r"[A-Za-z0-9\\{}()\[\]+\-*/^_=<>.,|!&% ]+")
_FUNCTIONS = frozenset(
    (
        "sqrt",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "exp",
        "gcd",
        "lcm",
        "min",
        "max",
        "mod",
    )
)
# Exponents and factorials with more digits than a processor has time for.
_EXPLOSIVE = re.compile(
    r"(?:\^|\*\*)[\s{(]*-?\d{4,}|(?:\^|\*\*)[\s{(]*\d+[\s})]*(?:\^|\*\*)|\d{4,}[\s})]*!|!\s*!"
)


def normalise_answer(raw: str) -> str:
    """Return the canonical, printable form of a stated answer; applying it again changes nothing.

    Numbers become plain exact decimals ("$1,234.50" -> "1234.5") or, where written so, lowest
    fractions ("3 1/2" -> "7/2"); units, currency and percent signs go ("50%" -> "50"). Other
    mathematics stays LaTeX without its delimiters; words keep their case.
    """
    text = " ".join(raw[:_MAX_CHARACTERS].split())
    for _ in range(_MAX_PASSES):
        simpler = _simplify(text)
        if simpler == text:
            break
        text = simpler
    return text


def answer_key(raw: str) -> AnswerKey:
    """Return the hashable key of an answer: an exact Fraction, or else a text.

    Answers with equal keys are the same; answers with different keys may still be, when at least
    one of them is an expression (see `same_answer`).
    """
    return _key(normalise_answer(raw))


def same_answer(first: str, second: str) -> bool:
    """Tell whether two stated answers are the same; "" is the same as nothing else.

    Symmetric, callable from any thread, and bounded: at most some seconds, and for two numbers
    microseconds. What cannot be decided in time counts as different.
    """
    return _same_key(answer_key(first), answer_key(second))


def expect_more_answers(answer: str) -> None:
    """Prepare in the background to compare `answer` with others; free of cost for a number."""
    key = answer_key(answer)
    if isinstance(key, str) and _is_expression(key):
        from lorid_edge.answers.symbolic import expect_comparison

        expect_comparison()


def reference_answer(text: str) -> str:
    """Return what follows the last "####" of a GSM8K rationale, or else the text itself."""
    _, mark, answer = text.rpartition("####")
    return answer.strip().partition("\n")[0].strip() if mark else text.strip()


class AnswerClusters:
    """Groups a growing list of answers into classes of equal ones, as voting needs them.

    Each class is represented by the normalised form of its first answer, and every later answer
    is compared with representatives only, so that the classes stay disjoint whatever math-verify
    may say about two later members. Not thread-safe.
    """

    def __init__(self) -> None:
        self.representatives: list[str] = []
        self._representative_keys: list[AnswerKey] = []
        self._cluster_of_key: dict[AnswerKey, int] = {}

    def __len__(self) -> int:
        return len(self.representatives)

    def add(self, raw: str) -> int:
        """Return the index of the class that an answer belongs to, opening one if need be."""
        normalised = normalise_answer(raw)
        key = _key(normalised)
        cluster = self._cluster_of_key.get(key)
        if cluster is None:
            cluster = self._find_or_open(key, normalised)
            self._cluster_of_key[key] = cluster
        return cluster

    def _find_or_open(self, key: AnswerKey, normalised: str) -> int:
        for cluster, representative in enumerate(self._representative_keys):
            if _same_key(key, representative):
                return cluster
        self.representatives.append(normalised)
        self._representative_keys.append(key)
        return len(self.representatives) - 1


def _simplify(text: str) -> str:
    text = plain_text(text)
    choice = _CHOICE.fullmatch(text) or _NAMED_OPTION.fullmatch(text)
    if choice:
        return choice[1].upper()
    text = _right_hand_side(text)
    numeral = read_numeral(text)
    if numeral is not None:
        return str(numeral)
    items = _items(text)
    if items is not None:
        opening, inner, closing = items
        return f"{opening}{', '.join(_simplify(item) for item in inner)}{closing}"
    if encloses(text):
        return text[1:-1].strip()
    return text


def _right_hand_side(text: str) -> str:
    """Reduce "x = 5" and "16 - 7 = 9" to what they state; equations such as "x + y = 5" stay."""
    if re.search(r"[<>!:]=|==|=>", text):
        return text
    left, equals, right = text.rpartition("=")
    if not equals or not right.strip() or len(split_items(text)) > 1:
        return text
    if _BARE_NAME.fullmatch(left.strip()) or not re.search(r"[A-Za-z]", _CALCULATION.sub("", left)):
        return right.strip()
    return text


def _items(text: str) -> tuple[str, list[str], str] | None:
    r"""Split a tuple, interval, set or list into its brackets and items; None when it is none."""
    opening, inner, closing = "", text, ""
    if text.startswith(r"\{") and text.endswith(r"\}") and encloses(text[1:]):
        opening, inner, closing = r"\{", text[2:-2], r"\}"
    elif encloses(text) and text[0] in "([":
        opening, inner, closing = text[0], text[1:-1], text[-1]
    items = split_items(inner)
    if len(items) < 2 or not all(items):
        return None
    return opening, items, closing


def _key(normalised: str) -> AnswerKey:
    numeral = read_numeral(normalised)
    if numeral is not None:
        return numeral.value
    items = _items(normalised)
    if items is not None:
        opening, inner, closing = items
        return f"{opening}{','.join(str(_key(item)) for item in inner)}{closing}"
    if _WORDS.fullmatch(normalised):
        return normalised.casefold()
    # Space parts a command from a letter ("\pi r") and two numbers; elsewhere it says nothing.
    return re.sub(
        r"(\\[A-Za-z]+ (?=[A-Za-z]))|(?<=\d)( )(?=\d)|\s+",
        lambda match: match[1] or match[2] or "",
        _UNIT_AT_END.sub("", normalised),
    )


def _same_key(first: AnswerKey, second: AnswerKey) -> bool:
    if first == second:
        return first != ""
    if isinstance(first, Fraction) and isinstance(second, Fraction):
        return False
    first_text, second_text = _latex(first), _latex(second)
    if _shape(first_text) != _shape(second_text):
        return False
    if not (_is_expression(first_text) and _is_expression(second_text)):
        return False
    from lorid_edge.answers.symbolic import symbolically_equal

    # math-verify is not symmetric everywhere; one order for each pair makes the answer so.
    return symbolically_equal(*sorted((first_text, second_text)))


def _latex(key: AnswerKey) -> str:
    """Write a number as an exact fraction: math-verify rounds decimals to six places."""
    if isinstance(key, str):
        return key
    if key.denominator == 1:
        return str(key)
    sign = "-" if key < 0 else ""
    return rf"{sign}\frac{{{abs(key.numerator)}}}{{{key.denominator}}}"


def _shape(text: str) -> str:
    """Name the outer form of an expression; math-verify equates some forms that differ here.

    It takes the list 1,2 for equal to the set {2,1} and to the interval (1,2), and an inequality
    for equal to its set of solutions in one order of the operands but not in the other.
    """
    if re.search(r"[<>=]|\\(?:le|ge|lt|gt|neq?)(?![a-zA-Z])", text):
        return "relation"
    items = _items(text)
    if items is None:
        return "scalar"
    opening, _, closing = items
    return "list" if opening in ("", r"\{") else opening + closing


def _is_expression(text: str) -> bool:
    if not 0 < len(text) <= MAX_SYMBOLIC_CHARACTERS or _EXPLOSIVE.search(text):
        return False
    if not _EXPRESSION.fullmatch(text) or re.search(r"\d[ap]m$", text):
        return False
    if _WORDS.fullmatch(text) or re.search(r"\d_", text):
        return False  # math-verify multiplies letters ("no" is "on") and ignores a number's base
    without_commands = re.sub(r"\\(?:begin|end)\{\w+\}|\\[A-Za-z]+", "", text)
    words = re.findall(r"[A-Za-z]{3,}", without_commands)
    return all(word in _FUNCTIONS for word in words)
