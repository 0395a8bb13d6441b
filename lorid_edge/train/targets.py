r"""What a role is taught to write: the text of a target, made of a record.

Reasoners write the rationale and the final answer in the pack's form; the knowledge generator
writes its rules as a list, in the very form in which the runtime hands them to the deep reasoner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from fractions import Fraction

from lorid_edge.calculator import forced_result
from lorid_edge.data.rationales import without_annotations

_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
_EQUALS = re.compile(r"= *(?:\\?[$€£¥])?")
_NUMBER = r"-?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?![\d/]| ?/)"
_RULE = re.compile(r"[-*•] ?(?P<rule>\w.*)")
_WRITTEN = re.compile(rf" *(?:\\?[$€£¥])?(?P<digits>{_NUMBER})")


class Annotations(str, Enum):
    """What becomes of calculator annotations, such as `<<48/2=24>>`, in rationales."""

    STRIP = "strip"
    """None is left: the calculator reads plain expressions."""
    KEEP = "keep"
    """All are left as the data has them."""
    WHERE_NEEDED = "where_needed"
    """Those are left that the calculator needs: it cannot read the plain text before them."""

    def apply(self, rationale: str) -> str:
        """The rationale with the annotations that are wanted."""
        if self is Annotations.STRIP:
            return without_annotations(rationale)
        if self is Annotations.KEEP:
            return rationale
        return _needed_annotations(rationale)


def solution_text(rationale: str, answer: str, answer_format: str) -> str:
    r"""A rationale that ends with the answer, marked as the pack wants it.

    Args:
        rationale: a chain of thought, without the line that states the answer.
        answer: the final answer.
        answer_format: `boxed`, `hash` or `line`, as in a pack's manifest.
    """
    line = {
        "boxed": f"The answer is \\boxed{{{answer}}}.",
        "hash": f"#### {answer}",
        "line": f"The answer is {answer}.",
    }[answer_format]
    return f"{rationale.strip()}\n{line}"


def knowledge_text(rules: Iterable[str]) -> str:
    """Rules as a list, one a line: what the knowledge generator writes and the reasoner reads."""
    return "\n".join(f"- {' '.join(rule.split())}" for rule in rules)


def is_rule_list(text: str) -> bool:
    """Whether a text is rules and nothing else: one to eight lines that begin with a dash."""
    return bool(rules_of(text))


def rules_of(text: str) -> tuple[str, ...]:
    """The rules of a text that is a list of them, without their dashes; () if it is none."""
    rules = [_RULE.fullmatch(line.strip()) for line in text.splitlines() if line.strip()]
    if not 1 <= len(rules) <= 8:
        return ()
    found = tuple(rule["rule"] for rule in rules if rule)
    return found if len(found) == len(rules) else ()


def as_calculated(text: str) -> str:
    """The text with each result written as the runtime's calculator will write it.

    "7 - 4=$3" becomes "7 - 4=3": the space and the currency sign after an equals sign are not the
    model's to choose. A result of another value stays as it is.
    """
    done = 0
    while match := _EQUALS.search(text, done):
        done = match.end()
        found = _calculation(text, match)
        if found is None:
            continue
        position, result = found
        written = _WRITTEN.match(text, position)
        if written and _value(written["digits"]) == _value(result):
            rest = text[written.end() :]
            rest = rest.removeprefix(">>") if result.endswith(">>") else rest
            text = f"{text[:position]}{result}{rest}"
            done = position + len(result)
    return text


def calculator_results(text: str) -> Iterator[tuple[int, int, bool]]:
    """Where the runtime's calculator would write while this text is generated.

    Yields:
        begin and end of what it would write, and whether just that stands there.
    """
    for match in _EQUALS.finditer(text):
        found = _calculation(text, match)
        if found is not None:
            position, result = found
            end = position + len(result)
            goes_on = result[-1].isdigit() and re.match(r"[.,]?\d", text[end:])
            yield position, end, text.startswith(result, position) and not goes_on


def _calculation(text: str, equals: re.Match[str]) -> tuple[int, str] | None:
    """What the calculator writes at an equals sign, and where: after it, a space or a currency.

    The runtime looks after each token, so the first of these places is the one.
    """
    for position in range(equals.start() + 1, equals.end() + 1):
        result = forced_result(text[:position])
        if result is not None:
            return position, result
    return None


def _value(text: str) -> Fraction | None:
    number = re.search(r"-?[\d,]*\.?\d+", text)
    return Fraction(number[0].replace(",", "")) if number else None


def _needed_annotations(rationale: str) -> str:
    parts: list[str] = []
    done = 0
    for match in _ANNOTATION.finditer(rationale):
        parts.append(rationale[done : match.start()])
        before = "".join(parts)
        if not _was_calculated(before):
            parts.append(match[0])
        done = match.end()
    return "".join([*parts, rationale[done:]])


def _was_calculated(text: str) -> bool:
    """Whether the calculator would have written the result before this text was over."""
    ending = re.search(rf"{_EQUALS.pattern}\Z", text)
    return ending is not None and _calculation(text, ending) is not None
