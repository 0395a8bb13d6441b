"""Problems as other data sets publish them, turned into plain records with question and answer.

Known are SVAMP (Patel et al., 2021), ASDiv (Miao et al., 2020), MAWPS (Koncel-Kedziorski et al.,
2016) as its authors publish it and with its numbers set apart, and GSM-Symbolic (Mirzadeh et al.,
2024), which is GSM8K's form with an instance beside the id.
"""

from __future__ import annotations

import re
from typing import Any

from lorid_edge.data.record import FormError

_UNIT = re.compile(r"\s+\([^()]*\)\s*\Z")
_PLACEHOLDER = re.compile(r"\b(?:number|N_)(\d{1,3})\b")
_WHOLE = re.compile(r"(-?\d+)\.0*")

Object = dict[str, Any]


def as_plain_record(content: Object) -> Object:
    """The object itself, or the plain record that it stands for.

    Raises FormError if it is of one of the forms here and lacks what the form demands.
    """
    if "sQuestion" in content:
        return _from_mawps(content)
    if "Numbers" in content:
        return _with_numbers(content)
    if "Body" in content:
        return _from_body_and_question(content)
    if "instance" in content and "id" in content:
        return {**content, "id": f"{content['id']}-{content['instance']}"}
    return content


def is_made_from_a_test(content: Any) -> bool:
    """Whether an object says that it was made from a problem of a test split (GSM-Symbolic)."""
    return isinstance(content, dict) and "original_question" in content and "instance" in content


def _from_body_and_question(content: Object) -> Object:
    """SVAMP and ASDiv: the question apart from its story; ASDiv gives units in parentheses."""
    body, question = _text(content, "Body"), _text(content, "Question")
    answers = [_UNIT.sub("", part).strip() for part in _value(content, "Answer").split(";")]
    return {
        "question": f"{body.strip()} {question.strip()}",
        "answer": ", ".join(answers),
        "id": content.get("ID"),
    }


def _from_mawps(content: Object) -> Object:
    solutions = content.get("lSolutions")
    if not isinstance(solutions, list) or not solutions:
        raise FormError('"lSolutions" is not a list of numbers such as [43.0]')
    answers = [_value({"lSolutions": solution}, "lSolutions") for solution in solutions]
    return {
        "question": _text(content, "sQuestion"),
        "answer": ", ".join(answers),
        "id": content.get("iIndex"),
    }


def _with_numbers(content: Object) -> Object:
    """MAWPS with number0 or N_00 in the question for the first of its numbers, and so on."""
    numbers = content["Numbers"]
    listed = numbers.split() if isinstance(numbers, str) else numbers
    if not isinstance(listed, list):
        raise FormError('"Numbers" is not a list such as "56.0 9.0"')
    texts = [_plain_number(_value({"Numbers": number}, "Numbers")) for number in listed]

    def fill(match: re.Match[str]) -> str:
        place = int(match[1])
        if place >= len(texts):
            raise FormError(f'"Question" holds {match[0]}, "Numbers" only {len(texts)} numbers')
        return texts[place]

    question = _PLACEHOLDER.sub(fill, _text(content, "Question"))
    return {"question": question, "answer": _value(content, "Answer"), "id": content.get("id")}


def _plain_number(text: str) -> str:
    """56.0 as people write it: 56."""
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def _text(content: Object, name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value.strip():
        raise FormError(f'"{name}" is {"missing" if value is None else "not a text"}')
    return value


def _value(content: Object, name: str) -> str:
    """A number or a text that is not blank, as text; readers give numbers with a point as text."""
    value = content.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(content, name)
