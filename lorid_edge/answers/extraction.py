r"""Finds the answer that a chain of thought states as final.

In order of weight: the last complete \boxed{...}, the last "#### 18", the last "Answer: 18" or
"The answer is 18.", and, only where a text came to its own end, the conclusion of its last
sentence. A number that a text merely mentions is never an answer.
"""

from __future__ import annotations

import re

from lorid_edge.answers.latex import braced

# A small model may fall into repeating itself; these keep the time linear in the text.
_MAX_SENTENCE_CHARACTERS = 600
_MAX_MARKS = 20

_MONEY = r"(?:\\?\$|[€£¥₹])?\s?"
_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:\{,\}\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_TIME = r"\d{1,2}:\d{2}(?:\s?[aApP]\.?[mM]\b\.?)?"
_FRACTION = r"\\[dt]?frac\s*(?:\{[^{}]*\}\s*\{[^{}]*\}|\d\s*\d)"
# A quantity as it stands in prose: its sign, its currency, its value, a percent sign.
_QUANTITY = re.compile(
    rf"(?<![\w.,:\\/^-])(?:[-−+]\s?)?{_MONEY}[-−]?"
    rf"(?:{_TIME}|(?:\d+\s?)?{_FRACTION}|\d+\s\d+/\d+|(?:{_DECIMAL})(?:\s?/\s?\d+(?![\d.]))?"
    r"(?:[eE][+-]?\d+)?)(?!\d|[.,:/]\d|(?:st|nd|rd|th)\b)"
    r"(?:\s?\\?%|\s(?:hundred|thousand|million|billion|trillion)\b)?"
)
_OPERATOR = re.compile(
    r"\s*(?:[a-zA-Z]{2,}\s+)?(?:[-+*×÷^=<>−√π²³≤≥]|/(?!\s?[a-z]{2})|\\(?:times|cdot|div|frac|sqrt|pi))"
)
# A unit and the smaller one that a compound quantity such as "2 hours 30 minutes" goes on with.
_COMPOUND = "|".join(
    rf"\s*{unit},?\s+\d+(?:\.\d+)?\s*{smaller}\b"
    for unit, smaller in (
        ("years?", "months?"),
        ("weeks?", "days?"),
        ("days?", "hours?"),
        ("(?:hours?|hrs?|h)", "(?:minutes?|mins?|m)"),
        ("(?:minutes?|mins?|m)", "(?:seconds?|secs?|s)"),
        ("(?:feet|foot|ft)", "(?:inch(?:es)?|in)"),
        ("(?:pounds?|lbs?)", "(?:ounces?|oz)"),
        ("dollars?", "cents?"),
    )
)
# More of one answer: "110_{2}", "5(x + 1)", "1, 2", "5x", "5 eggs and 3 apples".
_MORE = re.compile(
    r"_\{?\d|\([^()]*[-+*^\d][^()]*\)|\s*,\s*-?\d|\s*[a-z]\b(?!\s+\w)|"
    r"\s+(?:\w+\s+)?(?:and|or)\s+\\?\$?\d|" + _COMPOUND,
    re.IGNORECASE,
)

_UNIT = re.compile(r"(?:[\s/](?!(?:to|for|that|if|when|of|and|or)\b)[A-Za-z]{1,20}){0,4}")

_STATEMENT = re.compile(
    r"""
    \b(?:final\s+|correct\s+|our\s+|the\s+)*answer
    (?:\s+(?:to|for)\s+(?:the|this|our)\s+\w+(?:\s\w+)?)?
    [*_\s]*(?::|=|(?:is|would\s+be|should\s+be|must\s+be|will\s+be|equals)\b)
    (?:\s*(?:therefore|thus|then|simply|just)\b)?
    (?P<rest>[*_:\s]*)
    """,
    re.IGNORECASE | re.VERBOSE,
)
# What is said of an answer, not what it is.
_NO_ANSWER = re.compile(
    r"(?:not|unknown|unclear)\b|(?:correct|right|incorrect|wrong|reasonable|complete|clear|helpful|"
    r"(?:as\s+)?(?:above|below|follows))[.!]*$",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"\b(?:wait|mistake|incorrect|wrong|recalculate|sorry|correction|oops|re-?check)\b",
    re.IGNORECASE,
)
_NEW_PROBLEM = re.compile(
    r"\n[ \t]*(?:#+\s*|\*\*)?(?:question|problem|q)\s*\d*\s*[:.]", re.IGNORECASE
)
_NO_CONCLUSION = re.compile(
    r"\bnot\b|^(?:let's|next\b|first\b|now\b|we\s+(?:need|must|have\s+to|can)|if\b|to\s+find|"
    r"note\b|check\b|step\s+\d+\s*[:.]?\s*$)",
    re.IGNORECASE,
)
_LIST_MARK = re.compile(r"\s*(?:#+\s*)?(?:step\s+\d+\s*[:.)-]|\d+[.)]\s|[-*•]\s)\s*", re.IGNORECASE)
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|equals?|makes?|made|gets?|earns?|earned|costs?|pays?|paid|spends?|"
    r"spent|needs?|has|have|had|sells?|sold|saves?|saved|totals?|left|ate|eats?|takes?|took)\s+"
    r"(?:(?:a|an|the|total|sum|of|about|only|exactly|approximately|now|still|in|to|be)\s+)*$|"
    # "a total of 120" is about 120, "30 of 120 pages" is not.
    r"(?<!\d\s)\bof\s+(?:(?:about|only|exactly|approximately)\s+)*$",
    re.IGNORECASE,
)
_ASIDE = re.compile(
    r"\b(?:in|for|per|every|after|each|on|at|than|with|by|from|within|over|during|the|these|those|"
    r"all|both|of|her|his|their|its|year|day|week|hour|month|first|last|next)\s+$",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<!\bRs)(?<!\bvs)(?<!\ba\.m)(?<!\bp\.m)[.!?](?=\s|$)(?!\s*[a-z])")
_CHOICE = re.compile(r"\(?([A-E])(?:\)|[.:](?=\s|$)|$)")
_HEADING = re.compile(r"(?!(?:yes|no|true|false)\b)[A-Za-z]{2,}[A-Za-z' -]*", re.IGNORECASE)
_LONG_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")


def extract_answer(text: str, *, complete: bool = True) -> str | None:
    r"""Return the answer as the text states it, or None when it states none.

    `complete` tells whether the text came to its own end. One that was cut off at its token limit
    ends in an intermediate result as likely as not, so that only explicit marks count there:
    \boxed{...}, "####" and "Answer:", and these only once the answer itself is whole and stands
    right behind its mark.
    """
    problem = _NEW_PROBLEM.search(text)
    if problem:
        # A base model that has answered may go on to pose, and answer, a problem of its own.
        answer = _explicit_answer(text[: problem.start()] + "\n")
        if answer is not None:
            return answer
    before, inside = _split_at_open_box(text)
    if not complete:
        # The last word may be half a number, and what stands in an open box half an answer.
        whole = re.sub(r"\S+\Z", "", before)
        return _boxed(text) or _explicit_answer(whole, complete=False)
    text = before + inside
    return _explicit_answer(text) or _conclusion(text)


def _split_at_open_box(text: str) -> tuple[str, str]:
    r"""What stands before and in a last \boxed{ that is never closed; without one, all and ""."""
    start = text.rfind("\\boxed{")
    inside = start + len("\\boxed{")
    if start < 0 or braced(text, inside - 1) is not None:
        return text, ""
    return text[:start], text[inside:]


def _explicit_answer(text: str, *, complete: bool = True) -> str | None:
    text = _without_markup(text)
    return _boxed(text) or _hash_marked(text) or _stated(text, complete=complete)


def _without_markup(text: str) -> str:
    """Drop calculator annotations and bold marks, but no power operator ("2**3")."""
    text = re.sub(r"<<[^<>\n]*>>", "", text)
    return re.sub(r"(?<![\w)])\*\*|\*\*(?![\w(])", "", text)


def _boxed(text: str) -> str | None:
    for match in reversed(list(re.finditer(r"\\boxed\s*(?=\{)", text))[-_MAX_MARKS:]):
        content = braced(text, match.end())
        if content and content.strip():
            return content.strip()
    return None


def _hash_marked(text: str) -> str | None:
    for match in reversed(list(re.finditer(r"####+[ \t]*(?P<rest>[^\n]*)", text))):
        rest = match["rest"].strip()
        # "#### 1. Find the total" and "#### Conclusion" are headings.
        if not re.match(r"\d+[.)]\s", rest) and not _STATEMENT.match(rest):
            answer = _answer_at_start(rest)
            if answer is not None and not _HEADING.fullmatch(answer):
                return answer
    return None


def _stated(text: str, *, complete: bool) -> str | None:
    for match in reversed(list(_STATEMENT.finditer(text))):
        lines = text[match.end() :].split("\n")
        statement = _first_sentence(lines[0])
        if _NO_ANSWER.match(statement):
            continue
        answer = _answer_at_start(statement)
        is_last = not "".join(lines[1:]).strip()
        if answer is None and is_last and complete:
            answer = _concluded(statement)
        if answer is not None:
            after = text[match.end() :]
            correction = _CORRECTION.search(after)
            revised = _conclusion(after[correction.end() :]) if correction else None
            return revised or answer
    return None


def _answer_at_start(statement: str) -> str | None:
    """Return the answer that a statement such as "18 dollars, since ..." begins with."""
    statement = statement.strip().strip("*_`").strip()
    if not statement or len(statement) > _MAX_SENTENCE_CHARACTERS:
        return None
    delimited = re.match(r"(\\\(|\\\[|\$\$?)\s*(.+?)\s*(?:\\\)|\\\]|(?<!\\)\$)", statement)
    if delimited and (delimited[1] != "$" or not re.match(r"\d[\d.,]*\s+[a-z]{2,}", delimited[2])):
        value = _after_equals(delimited[2])
        return value if value and re.search(r"\w", value) else None
    choice = _CHOICE.match(statement)
    if choice:
        return choice[1]
    if "=" in statement and _OPERATOR.match(statement, _end_of_quantity(statement)):
        return _after_equals(statement)
    quantity = _QUANTITY.match(statement)
    if quantity and not _continues(statement[quantity.end() :]):
        return _with_unit(statement, quantity)
    if re.fullmatch(r"(?:yes|no|true|false)\b.*", statement, re.IGNORECASE):
        return re.split(r"\W", statement)[0]
    words = _LONG_WORD.findall(statement)
    is_short = len(statement.split()) <= 3 and not statement.endswith(":")
    if words and is_short and not quantity and not re.search(r"[\d=]", statement):
        # A name or a weekday.
        return statement.rstrip(".")
    is_compound = quantity and re.match(_COMPOUND, statement[quantity.end() :], re.IGNORECASE)
    if not words and not is_compound and len(statement) <= 200:
        return _after_equals(statement)
    return None


def _end_of_quantity(statement: str) -> int:
    quantity = _QUANTITY.match(statement)
    return quantity.end() if quantity else 0


def _continues(rest: str) -> bool:
    """Tell whether more belongs to a quantity: "16 - 7 = 9", "1, 2", "5 eggs and 3 apples"."""
    return bool(_OPERATOR.match(rest) or _MORE.match(rest))


def _with_unit(statement: str, quantity: re.Match[str]) -> str:
    """Keep the words after a quantity when they end the statement ("18 eggs per day")."""
    rest = statement[quantity.end() :]
    if _UNIT.fullmatch(rest.rstrip(" .!*")):
        return statement.rstrip(" .!*")
    return quantity[0].strip()


def _after_equals(expression: str) -> str | None:
    """Reduce "16 - 7 = 9 eggs" to "9 eggs"; inequalities and equations in two letters stay."""
    expression = expression.strip().rstrip(".").strip()
    if re.search(r"[<>!]=|[a-zA-Z]\s*[-+*/^]|[-+*/^]\s*[a-zA-Z].*=", expression):
        return expression or None
    value = expression.rpartition("=")[2].strip()
    if not value:
        return None
    quantity = _QUANTITY.match(value)
    if quantity and "=" in expression and not _continues(value[quantity.end() :]):
        return _with_unit(value, quantity)
    return value


def _conclusion(text: str) -> str | None:
    """Return what the last sentence of a finished text comes to."""
    lines = [line.strip() for line in _without_markup(text).split("\n")]
    # Closing delimiters on lines of their own say nothing.
    lines = [line for line in lines if line.strip("\\[]()$ `*_-")]
    if not lines:
        return None
    sentences = _sentences(lines[-1])
    return _concluded(sentences[-1]) if sentences else None


def _concluded(sentence: str) -> str | None:
    if len(sentence) > _MAX_SENTENCE_CHARACTERS:
        return None
    mark = _LIST_MARK.match(sentence)
    sentence = sentence[mark.end() if mark else 0 :].strip()
    if not sentence or sentence.endswith(("?", ":", "=", ",")):
        return None
    if re.match(r"(?:let|suppose|assume|given)\b", sentence, re.IGNORECASE):
        return None
    sentence = re.split(r"[ ,]+(?:because|since)\b", sentence)[0]
    math = re.sub(r"\\[()\[\]]|\$\$", " ", sentence).strip()
    if re.search(r"(?<![<>!=])=(?!=)", math):
        right = re.split(r"\$(?!\s?\d)", math.rpartition("=")[2])[0].strip()
        quantity = _QUANTITY.match(right)
        if quantity and not _continues(right[quantity.end() :]):
            return _with_unit(right, quantity)
        return right.rstrip(".").strip() if right and not _LONG_WORD.search(right) else None
    return None if _NO_CONCLUSION.search(sentence) else _sole_quantity(math)


def _sole_quantity(sentence: str) -> str | None:
    """Return the quantity that a sentence without an equals sign is about, where that is clear."""
    quantities = list(_QUANTITY.finditer(sentence))
    if any(_continues(sentence[quantity.end() :]) for quantity in quantities):
        return None
    if len(quantities) > 1:
        after_verb = [q for q in quantities if _VERB.search(sentence[: q.start()])]
        not_aside = [q for q in quantities if not _ASIDE.search(sentence[: q.start()])]
        quantities = after_verb if len(after_verb) == 1 else not_aside
    if len(quantities) != 1:
        return None
    value = quantities[0][0].strip().rstrip(".")
    is_negative = re.search(r"\b(?:negative|minus)\s+$", sentence[: quantities[0].start()], re.I)
    return f"-{value}" if is_negative else value


def _first_sentence(text: str) -> str:
    sentences = _sentences(text)
    return sentences[0] if sentences else ""


def _sentences(text: str) -> list[str]:
    sentences, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        sentences.append(text[start : match.end()].strip())
        start = match.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if sentence.strip(" *_")]
