"""The marks of a final answer: noticing that one is complete, and asking for one.

What a model writes after its marked answer is never read; ending there saves those tokens. A chain
that reaches its token limit without an answer is worth nothing; with the mark written behind it,
the model says what it has come to.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lorid_edge.engine.sequence import Closing

CLOSING_TOKENS = 32
"""Most tokens of an asked-for answer, the words that ask for it included."""

_CLOSING = {"boxed": "\nThe answer is \\boxed{", "hash": "\n####", "line": "\nThe answer is"}

_LINE = re.compile(r"(?:####|[Aa]nswer(?: is|\**:))[^\n]*\S[^\n]*\n$")


def completion_test(answer_format: str) -> Callable[[str], bool]:
    """A test of the text so far, called after every addition: is the final answer complete?

    Args:
        answer_format: `boxed`, `hash` or `line`, as in a pack's manifest.
    """
    return _box_is_closed if answer_format == "boxed" else _answer_line_is_complete


def closing(answer_format: str) -> Closing:
    """What asks a chain for its answer where it reached its limit; formats as above."""
    return Closing(_CLOSING[answer_format], CLOSING_TOKENS)


def _box_is_closed(text: str) -> bool:
    r"""Whether the text holds a `\boxed{...}` whose braces are balanced."""
    if "}" not in text[-16:]:  # no token is that long with its brace so far from the end
        return False
    start = text.rfind("\\boxed{")
    if start < 0:
        return False
    depth = 0
    for character in text[start + len("\\boxed") :]:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return True
    return False


def _answer_line_is_complete(text: str) -> bool:
    return text.endswith("\n") and _LINE.search(text[-400:]) is not None
