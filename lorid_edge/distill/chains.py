r"""What a sampled chain of thought is worth as training data, and its form for it.

A trainer adds the line with the answer itself, in the form of its pack. So what is kept of a chain
is the way to the answer, without the sentence that only states it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lorid_edge.answers import extract_answer
from lorid_edge.answers.judging import Judge
from lorid_edge.data.forms import unboxed
from lorid_edge.data.rationales import equations
from lorid_edge.engine.sequence import Finish, Sequence

_ANSWER_SENTENCE = re.compile(
    r"(?:\A|\n|(?<=[.!?])[ \t]+)[*#\s]*(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?"
    r"(?:final\s+|correct\s+)?answer(?:\s+is|\s*[:*])(?:(?![.!?]\s).)*\Z",
    re.IGNORECASE | re.DOTALL,
)
_HASH_LINE = re.compile(r"\n[ \t]*####[^\n]*\Z")
_BARE_BOX = re.compile(
    r"\n\s*(?:\\\[|\\\(|\$+|\*\*)?\s*\\boxed\s*\{[^\n]*\}\s*(?:\\\]|\\\)|\$+|\*\*)?[.\s]*\Z"
)
_DELIMITERS = ((r"\(", r"\)"), (r"\[", r"\]"))


@dataclass(frozen=True)
class Chain:
    """A correct chain.

    Attributes:
        text: without the sentence that states the answer.
        steps: what tells it from other chains: its equations or, without any, its words.
        sample: its number among the problem's samples, from 0.
        tokens: what the model generated for it.
    """

    text: str
    steps: tuple[str, ...]
    sample: int
    tokens: int


def correct_chains(samples: tuple[Sequence, ...], answer: str) -> list[Chain]:
    """The samples that end by themselves in the right answer and reason before they state it."""
    judge = Judge(answer)
    chains = []
    for number, sample in enumerate(samples):
        if sample.finish in (Finish.LENGTH, Finish.CANCELLED, None):
            continue
        if not judge.is_right(extract_answer(sample.text)):
            continue
        text = chain_without_answer(sample.text)
        if text:
            chains.append(Chain(text, _steps(text), number, len(sample.tokens)))
    return chains


def distinct(chains: list[Chain]) -> list[Chain]:
    """One chain for each way to solve the problem: the shortest."""
    best: dict[tuple[str, ...], Chain] = {}
    for chain in chains:
        known = best.get(chain.steps)
        if known is None or len(chain.text) < len(known.text):
            best[chain.steps] = chain
    return sorted(best.values(), key=lambda chain: chain.sample)


def chain_without_answer(text: str) -> str:
    r"""The chain up to the sentence that states its answer; "" if there is nothing before.

    Where the answer stands in the middle of a last sentence, its \boxed{} is opened.
    """
    text = text.strip()
    while (shorter := _without_last_statement(text)) is not None:
        text = shorter
    return _closed(unboxed(text).strip())


def _without_last_statement(text: str) -> str | None:
    """The text before a last sentence that only states the answer; None if it has none."""
    for pattern in (_ANSWER_SENTENCE, _HASH_LINE, _BARE_BOX):
        match = pattern.search(text)
        if match and not text[: match.start()].rstrip().endswith(":"):
            return text[: match.start()].rstrip()
    return None


def _closed(text: str) -> str:
    """Close a formula that the end of the sample left open, and end the sentence."""
    text = text.rstrip("\\ ")  # the token that closes a box may hold more than the brace
    for opening, closing in _DELIMITERS:
        if text.count(opening) > text.count(closing):
            text = f"{text} {closing}"
    return f"{text}." if text[-1:].isalnum() else text


def _steps(text: str) -> tuple[str, ...]:
    return equations(text) or tuple(re.findall(r"\w+", text.casefold()))
