"""What of a teacher's reply is knowledge."""

from __future__ import annotations

import json

import pytest

from lorid_edge.data.record import Record
from lorid_edge.distill.knowledge import (
    SCHEMA,
    TEMPLATE,
    RejectedReplyError,
    check_rules,
    parse_rules,
)
from lorid_edge.distill.teacher import Ask

RECORD = Record(
    id="r",
    question="Weng earns $1,200 a week. On Monday, Lena's shop pays her 12.5% more. Total pay?",
    rationale="1200 * 12.5 / 100 = 150, so she gets 1350.",
    answer="1350",
)


@pytest.mark.parametrize(
    "reply",
    [
        '["Add the parts.", "Take a share."]',
        '{"rules": ["Add the parts.", "Take  a\\nshare."]}',
        '```json\n["Add the parts.", "Take a share.", "Add the parts."]\n```',
        'Rules [of a kind]: ["Add the parts.", "Take a share."] and no more.',
        'With x in [0, 1]:\n["Add the parts.", "Take a share."]',
    ],
)
def test_rules_are_found_in_a_reply(reply: str) -> None:
    assert parse_rules(reply) == ("Add the parts.", "Take a share.")


@pytest.mark.parametrize(
    "reply",
    [
        "", "I will not.", '["Add', "[1, 2]", "[]", '{"rules": "Add."}', '{"list": ["Add."]}',
        json.dumps([f"Rule {letter}." for letter in "abcdefghi"]), '["Add.", " "]',
        json.dumps(["x" * 300]), "[" * 4_000_000,
    ],
)  # fmt: skip
def test_other_replies_are_rejected(reply: str) -> None:
    with pytest.raises(RejectedReplyError):
        parse_rules(reply)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("Multiply by 1200.", "number"),
        ("Multiply by 12.5 and divide by 100.", "number"),
        ("The pay is $1,350.", "answer"),
        ("Add what Lena pays.", "name"),
        ("Add Lena's share.", "name"),
        ("Multiply what Weng earns.", "name"),
        ("Find Weng's pay.", "name"),
        ("On a Monday the pay is higher.", "name"),
    ],
)
def test_rules_hold_nothing_of_their_problem(rule: str, reason: str) -> None:
    with pytest.raises(RejectedReplyError, match=reason):
        check_rules(("Add the parts.", rule), RECORD)


@pytest.mark.parametrize(
    "rule",
    [
        "Divide by 100 to turn a percentage into a share.",
        "On each day, find the pay for 7 hours.",
        "Total pay is the sum of its parts.",
    ],
)
def test_general_rules_are_kept(rule: str) -> None:
    check_rules((rule,), RECORD)


def test_the_prompts_examples_keep_the_rules_themselves() -> None:
    for example in TEMPLATE.examples:
        record = Record(id="e", question=example.question)
        check_rules(parse_rules(example.reply), record)
    assert SCHEMA["required"] == ["rules"]


def test_each_attempt_is_asked_more_freely() -> None:
    temperatures = [Ask("k", "q", "r", 1, attempt).temperature for attempt in range(6)]
    assert temperatures[0] == 0.2
    assert temperatures == sorted(temperatures)
    assert temperatures[-1] == 1.0
