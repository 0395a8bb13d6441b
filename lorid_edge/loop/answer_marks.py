"""The marks of a final answer: noticing that one is complete, and asking for one.

What a model writes after its marked answer is never read; ending there saves those tokens. A chain
that reaches its token limit without an answer is worth nothing; with the mark written behind it,
the model says what it has come to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from lorid_edge.answers import extract_answer
from lorid_edge.answers.latex import braced
from lorid_edge.engine.sequence import Closing

CLOSING_TOKENS = 32
"""Most tokens of an asked-for answer, the words that ask for it included."""

_CLOSING = {"boxed": "\nThe answer is \\boxed{", "hash": "\n####", "line": "\nThe answer is"}

# A pack that writes "####" states its answer there and nowhere else.
_MARKS = {"hash": re.compile("####"), "line": re.compile(r"####|[Aa]nswer(?: is|\**:)")}


def completion_test(answer_format: str) -> Callable[[str], bool]:
    """A test of the text so far, called after every addition: is the final answer complete?

    A mark that `extract_answer` finds no answer behind, as in "#### Step 1: Count the eggs", ends
    nothing.

    Args:
        answer_format: `boxed`, `hash` or `line`, as in a pack's manifest.
    """
    if answer_format == "boxed":
        return _box_is_complete
    return partial(_answer_line_is_complete, mark=_MARKS[answer_format])


def closing(answer_format: str) -> Closing:
    """What asks a chain for its answer where it reached its limit; formats as above."""
    return Closing(_CLOSING[answer_format], CLOSING_TOKENS)


def _box_is_complete(text: str) -> bool:
    r"""Whether the last `\boxed{...}` is closed and holds something."""
    if "}" not in text[-16:]:  # no token is that long with its brace so far from the end
        return False
    start = text.rfind("\\boxed{")
    content = braced(text, start + len("\\boxed")) if start >= 0 else None
    return content is not None and content.strip() != ""


def _answer_line_is_complete(text: str, mark: re.Pattern[str]) -> bool:
    """Whether the line that has just ended states an answer behind its mark."""
    if not text.endswith("\n"):
        return False
    line = text.rstrip().rpartition("\n")[2] + "\n"
    return mark.search(line) is not None and extract_answer(line, complete=False) is not None
