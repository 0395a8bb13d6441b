"""Reads LaTeX and typographic notation down to the plain text that carries an answer's meaning.

Not responsible for what an answer is worth: numbers are read in `numerals`, equality is decided
in `equivalence`.
"""

from __future__ import annotations

import re
import unicodedata

_SYMBOLS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "‐": "-",
        "‑": "-",
        "×": r"\times ",
        "÷": r"\div ",
        "·": r"\cdot ",
        "∗": "*",
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≈": r"\approx ",
        "∪": r"\cup ",
        "°": " degrees ",
        "²": "^2",
        "³": "^3",
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "½": " 1/2",
        "¼": " 1/4",
        "¾": " 3/4",
        "⅓": " 1/3",
        "⅔": " 2/3",
        "⅛": " 1/8",
    }
)

# In this order: a later rule may rely on what an earlier one has removed.
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right)(?![a-zA-Z])\s*\.?|\\[bB]igg?[lr]?(?![a-zA-Z])", ""),
        (r"(?<=\d)\\[,!;:]\s*(?=\d{3}(?!\d))|\\!", ""),
        (r"\{,\}", ","),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])", " "),
        (r"\\(?:displaystyle|limits)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (
            r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:rm|bf|it|sf)|mbox|operatorname)\s*\{([^{}]*)\}",
            r" \1 ",
        ),
        (r"(?<=[A-Za-z])\s+(?=\^)", ""),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))|\\degrees?(?![a-zA-Z])", " degrees "),
        (r"_\s*\{\s*(\w)\s*\}", r"_\1"),
        (r"\\leq(?![a-zA-Z])", r"\\le"),
        (r"\\geq(?![a-zA-Z])", r"\\ge"),
        (r"(?<!\\)\\[()\[\]]", " "),
        (r"\\?\$|[€£¥₹¢]|`|\*\*(?=\s|$)|^\*\*|\*\*$", ""),
        (r"\\%", "%"),
        (r"(?<![\\a-zA-Z])pi(?![a-zA-Z])", r"\\pi "),
        (r"√\s*(\w)", r"\\sqrt{\1}"),
        (r"(?<![\\a-zA-Z])infinity(?![a-zA-Z])", r"\\infty "),
    )
)
_EDGES = " .,;:\"'"


def braced(text: str, opening: int) -> str | None:
    """Return what stands between the brace at index `opening` and the one that closes it.

    None when the brace is never closed, as in a text cut off at its token limit.
    """
    depth = 0
    for index in range(opening, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return text[opening + 1 : index]
    return None


def encloses(text: str) -> bool:
    """Tell whether the first and the last character are brackets of one and the same pair.

    The two need not be of one kind: the interval `[0, 1)` is enclosed.
    """
    if len(text) < 2 or text[0] not in "([{" or text[-1] not in ")]}":
        return False
    depth = 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return index == len(text) - 1
    return False


def split_items(text: str) -> list[str]:
    """Split at the commas that stand outside all brackets."""
    items, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            items.append(text[start:index].strip())
            start = index + 1
    items.append(text[start:].strip())
    return items


def plain_text(raw: str) -> str:
    r"""Remove delimiters, currency signs, spacing and font commands; unify equal notations.

    `$\dfrac12\text{ cm}$.` becomes `\frac{1}{2} cm`. Structure such as \frac, \sqrt, powers and
    brackets stays, since it carries meaning.
    """
    text = raw.strip()
    boxed = re.fullmatch(r"\$*\s*\\boxed\s*(\{.*)", text, re.DOTALL)
    if boxed:
        text = braced(boxed.group(1), 0) or text
    text = "".join(
        unicodedata.normalize("NFKC", character) if "！" <= character <= "～" else character
        for character in text
    ).translate(_SYMBOLS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = re.sub(r"\s+", " ", text)
    # A decimal may begin with its point (".5"), and an exclamation mark may be a factorial.
    text = re.sub(r"^[\s,;:!\"']+|^\.(?!\d)", "", text)
    return re.sub(r"(?<=[a-z][a-z])!+$", "", text.rstrip(_EDGES))
