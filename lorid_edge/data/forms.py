r"""From one object of a data file to a record, whatever form the data set gives its problems.

Known are GSM8K's form (`question`, and an `answer` that is a rationale ending in "#### 18"),
MATH's (`problem`, with a `solution` whose answer stands in \boxed{}, or with an `answer`), plain
records (`question` with, optionally, `rationale`, `answer`, `knowledge` and `id`), and what
`lorid_edge.data.published_forms` turns into plain records.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from lorid_edge.answers.latex import braced
from lorid_edge.data.published_forms import as_plain_record
from lorid_edge.data.record import FormError

_HASH_LINE = re.compile(r"\n?[ \t]*####+[ \t]*(?P<answer>[^\n]*)\s*\Z")
_ANSWER_LINE = re.compile(
    r"(?:\A|\n)[ \t]*(?:so |thus |therefore,? )?(?:the )?(?:final )?answer(?: is)?[ :]+"
    r"(?P<answer>[^\n]+?)\.?\s*\Z",
    re.IGNORECASE,
)
_BOX = re.compile(r"\\boxed\s*(?=\{)|\\fbox\s*(?=\{)")
_SHORT_BOX = re.compile(r"\\boxed\s+([^\s{}$]+)")


@dataclass(frozen=True)
class Fields:
    """The fields of a record but for an id that is unique; None and () where there is nothing."""

    question: str
    rationale: str | None
    answer: str | None
    knowledge: tuple[str, ...]
    id: str | None


def read_fields(content: Any) -> Fields:
    """The problem that an object of a data file holds. Raises FormError if it holds none."""
    if not isinstance(content, dict):
        raise FormError('not an object such as {"question": "What is 7*8?", "answer": "56"}')
    if "problem" in content and "question" not in content:
        return _from_math(content)
    content = as_plain_record(content)
    question = _text(content, "question")
    rationale = _text(content, "rationale", required=False)
    answer = _answer(content)
    if rationale is None and answer is not None and _HASH_LINE.search(answer):
        rationale, answer = answer, None
    if rationale is not None:
        rationale, stated = split_answer(rationale)
        answer = answer if answer is not None else stated
    return Fields(question, rationale or None, answer, _knowledge(content), _identity(content))


def split_answer(rationale: str) -> tuple[str, str | None]:
    r"""A rationale without the line that gives its answer, and that answer if it gives one.

    Such a line begins with "####" or "The answer is". A \boxed{} inside the text is opened, and
    counts as the answer where there is no such line.
    """
    for pattern in (_HASH_LINE, _ANSWER_LINE):
        match = pattern.search(rationale)
        if match and match["answer"].strip():
            answer = unboxed(match["answer"].strip()).strip("$")
            return unboxed(rationale[: match.start()]).rstrip(), answer
    return unboxed(rationale).rstrip(), boxed_answer(rationale)


def boxed_answer(solution: str) -> str | None:
    r"""What the last \boxed{} of a solution holds."""
    for match in reversed(list(_BOX.finditer(solution))):
        content = braced(solution, match.end())
        if content and content.strip():
            return content.strip()
    short = _SHORT_BOX.findall(solution)
    return short[-1].rstrip(".,") if short else None


def unboxed(text: str) -> str:
    r"""The text with every \boxed{x} opened to x, so that a trained model marks its answer once."""
    for match in reversed(list(_BOX.finditer(text))):
        content = braced(text, match.end())
        if content is not None:
            end = match.end() + len(content) + 2
            text = text[: match.start()] + content + text[end:]
    return _SHORT_BOX.sub(lambda match: match[1], text)


def _from_math(content: dict[str, Any]) -> Fields:
    """MATH's own files, and the like of them that give the answer beside the solution or alone."""
    question, stated = _text(content, "problem"), _answer(content)
    solution = _text(content, "solution", required=stated is None)
    answer = boxed_answer(solution or "") or stated
    if answer is None:
        raise FormError(r'"solution" has no \boxed{} with the answer')
    rationale = split_answer(solution)[0] if solution else None
    identity = _identity(content) or _text(content, "unique_id", required=False)
    return Fields(question, rationale or None, answer, _knowledge(content), identity)


def _text(content: dict[str, Any], name: str, required: bool = True) -> Any:
    """A text that is not blank; None if it is not there and need not be."""
    value = content.get(name)
    if value is None:
        if required:
            raise FormError(f'"{name}" is missing')
        return None
    if not isinstance(value, str) or not value.strip():
        raise FormError(f'"{name}" is {"empty" if isinstance(value, str) else "not a text"}')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise FormError(f'"{name}" is not proper Unicode') from None
    return value


def _answer(content: dict[str, Any]) -> str | None:
    value = content.get("answer")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    answer: str | None = _text(content, "answer", required=False)
    return answer


def _knowledge(content: dict[str, Any]) -> tuple[str, ...]:
    value = content.get("knowledge")
    if value is None:
        return ()
    if not isinstance(value, list):
        raise FormError('"knowledge" is not a list of texts')
    return tuple(_text({"knowledge": rule}, "knowledge") for rule in value)


def _identity(content: dict[str, Any]) -> str | None:
    value = content.get("id")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise FormError('"id" is neither a text nor a whole number')
    return str(value)
