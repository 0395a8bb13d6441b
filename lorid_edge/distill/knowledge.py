"""What a teacher is asked for, and what of its replies is kept as knowledge.

The teacher sees a problem with its solution and names the general rules behind the steps (LoRID,
section 3.1). A rule is general only if it would help with another problem of the kind: it must not
hold the problem's own numbers or names, nor give its answer away.
"""

from __future__ import annotations

import json
import re

from lorid_edge.data.record import Record
from lorid_edge.packs.manifest import Example, RoleSettings

RULES_MAX = 8
RULE_CHARACTERS_MAX = 240
REPLY_CHARACTERS_MAX = 50_000
_OPENING = re.compile(r"[\[{]")
_OPENINGS_TRIED = 50
KNOWLEDGE_MAX_TOKENS = 200

# What is asked stands here, where its KV is computed once for all problems.
SYSTEM = """You are a teacher of mathematics. For a problem with its solution you write down the \
general rules that the solution uses, one for each kind of step: a JSON list of 1 to 5 short \
sentences. They must help with any problem of this kind: no numbers, no names, no answer."""

# {knowledge} is where a template takes its second text; here it is the solution.
_PROMPT = """Problem: {question}

Solution: {knowledge}

Rules:"""

_EXAMPLES = (
    Example(
        question="A baker has 3 trays with 12 rolls each. She sells 20 rolls in the morning and "
        "gives half of the rest to a school. How many rolls are left?",
        knowledge="There are 3 * 12 = 36 rolls. After the morning, 36 - 20 = 16 rolls are left. "
        "She gives away 16 / 2 = 8 rolls, so 16 - 8 = 8 rolls are left.",
        reply='["Multiply the number of groups by the size of a group to find the total.", '
        '"Subtract what was taken away from the total to find what is left.", '
        '"Divide an amount by two to find half of it."]',
    ),
    Example(
        question="Tickets cost $15 for adults and $9 for children. Omar buys 2 adult tickets and 4 "
        "child tickets and gets 10% off the total. How much does he pay?",
        knowledge="The adult tickets cost 2 * 15 = 30 dollars. The child tickets cost 4 * 9 = 36 "
        "dollars. Together they cost 30 + 36 = 66 dollars. The discount is 66 * 10 / 100 = 6.6 "
        "dollars. He pays 66 - 6.6 = 59.4 dollars.",
        reply='["Multiply the price of an item by the number of items to find their cost.", '
        '"Add the costs of all kinds of items to find the total cost.", '
        '"Multiply the total by the percentage and divide by one hundred to find the discount.", '
        '"Subtract the discount from the total to find the price to pay."]',
    ),
    Example(
        question="Lena is 4 years older than Tim. In 6 years their ages will add up to 40. How old "
        "is Lena now?",
        knowledge="In 6 years both are 6 years older, so now their ages add up to 40 - 6 - 6 = 28. "
        "Without Lena's extra years it would be 28 - 4 = 24, which is twice Tim's age. Tim is "
        "24 / 2 = 12. Lena is 12 + 4 = 16.",
        reply='["Subtract the years that pass from a future age to find the age now.", '
        '"Subtract the difference from the sum and divide by two to find the smaller number.", '
        '"Add the difference to the smaller number to find the larger one."]',
    ),
)

TEMPLATE = RoleSettings(prompt=_PROMPT, max_tokens=KNOWLEDGE_MAX_TOKENS, examples=_EXAMPLES)
"""The teacher's prompt: `question` and, in the place of knowledge, the solution."""

GRAMMAR = r"""root ::= "[" rule (", " rule){0,7} "]"
rule ::= "\"" [A-Z] [^"\\\x00-\x1F\x7F]+ "\""
"""
"""GBNF of the reply: a JSON list of 1 to 8 sentences, for teachers that run on our engine."""

SCHEMA = {
    "type": "object",
    "properties": {
        "rules": {
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": RULES_MAX,
        }
    },
    "required": ["rules"],
    "additionalProperties": False,
}
"""JSON schema of the reply, for endpoints that can hold to one (they want an object)."""

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_NAME = re.compile(r"(?<=[a-z0-9,;:'\"’] )[A-Z][a-z]+")
_FIRST_WORD = re.compile(r"(?:^|(?<=[.!?] ))[A-Z][a-z]+")
_POSSESSIVE = re.compile(r"['’]s\b")


class RejectedReplyError(ValueError):
    """A reply that is not knowledge; the message is the kind of reason, the same for all alike."""


def parse_rules(reply: str) -> tuple[str, ...]:
    """The rules in a teacher's reply: a JSON list of texts, or an object whose `rules` is one.

    Text around the JSON (a code fence, a sentence) is passed over.

    Raises RejectedReplyError: no such JSON, no rule or more than 8, an empty or overlong rule.
    """
    rules = _first_texts(reply)
    cleaned = tuple(dict.fromkeys(" ".join(rule.split()) for rule in rules))
    if not 1 <= len(cleaned) <= RULES_MAX:
        raise RejectedReplyError(f"not 1 to {RULES_MAX} rules")
    if any(not rule or len(rule) > RULE_CHARACTERS_MAX for rule in cleaned):
        raise RejectedReplyError("an empty or overlong rule")
    return cleaned


def _first_texts(reply: str) -> list[str]:
    """The first JSON in a reply that is a list of texts, or has one as its `rules`."""
    decoder = json.JSONDecoder()
    reply = reply[:REPLY_CHARACTERS_MAX]
    place = 0
    for _ in range(_OPENINGS_TRIED):
        opening = _OPENING.search(reply, place)
        if opening is None:
            break
        try:
            found, place = decoder.raw_decode(reply, opening.start())
        except (ValueError, RecursionError):
            place = opening.end()
            continue
        rules = found.get("rules") if isinstance(found, dict) else found
        if isinstance(rules, list) and rules and all(isinstance(rule, str) for rule in rules):
            return rules
    raise RejectedReplyError("not a JSON list of texts")


def check_rules(rules: tuple[str, ...], record: Record) -> None:
    """Raise RejectedReplyError unless the rules are general: nothing of the problem stands in them.

    Numbers are those in digits, of question and answer. Names are capitalised words of the question
    that do not merely begin a sentence. Percent signs with 100 are let through.
    """
    text = " ".join(rules)
    own_numbers = _numbers(record.question)
    found = _numbers(text)
    if record.answer is not None and found & _numbers(record.answer):
        raise RejectedReplyError("gives the answer away")
    if found & (own_numbers - {"100"}):
        raise RejectedReplyError("a number of the problem in a rule")
    if _names(record.question) & set(re.findall(r"[A-Z][a-z]+", _POSSESSIVE.sub("", text))):
        raise RejectedReplyError("a name of the problem in a rule")
    # A word that begins a sentence of the question is a name if a rule writes it as one.
    inside = {word for rule in rules for word in _NAME.findall(_POSSESSIVE.sub("", rule))}
    if inside & (set(_FIRST_WORD.findall(_POSSESSIVE.sub("", record.question))) - _COMMON):
        raise RejectedReplyError("a name of the problem in a rule")


def _numbers(text: str) -> set[str]:
    return {number.replace(",", "") for number in _NUMBER.findall(text)}


def _names(question: str) -> set[str]:
    """Proper names: capitalised inside a sentence, or the first word if it is not a common one."""
    plain = _POSSESSIVE.sub("", question)
    inside = set(_NAME.findall(plain)) - _COMMON
    first = {word for word in _FIRST_WORD.findall(plain) if word not in _COMMON}
    repeated = {word for word in first if len(re.findall(rf"\b{word}\b", plain)) > 1}
    return inside | repeated


_COMMON_WORDS = (
    "A After All Although An And Another Are As At Because Before Between Both But By Calculate "
    "Determine Divide Does Each Every Find First For From Given He Her Here His How However I If "
    "In Into Is It Its Last Let Many More Most Multiply Next No Not Now Of On Once One Only Or "
    "Other Our Out She Since So Some Subtract Suppose That The Their Then There These They This "
    "Those Three Through To Today Together Two Under Until What When Where Which While Who Will "
    "With Without Yesterday You Your Add Assume Total Half Twice Four Five"
)
_COMMON = frozenset(_COMMON_WORDS.split())
