r"""Where a chain of thought has given its final answer, so that it may end there."""

from __future__ import annotations

import pytest

from lorid_edge.answers import extract_answer
from lorid_edge.loop.answer_marks import completion_test

# format, a text that ends right behind its final answer
COMPLETE = [
    ("boxed", r"The answer is \boxed{18}"),
    ("boxed", r"The answer is \boxed{18}."),
    ("boxed", r"\[ \boxed{\frac{1}{2}}"),
    ("boxed", r"I will put the answer in \boxed{}. It is \boxed{18}"),
    ("hash", "9 * 2 = 18\n#### 18\n"),
    ("hash", "9 * 2 = 18\n#### 18\n\n"),
    ("hash", "#### $1,200\n"),
    ("hash", "#### 18 eggs\n"),
    ("hash", "#### Answer: 18\n"),
    ("hash", "#### Step 1: Count the eggs\n16 - 3 = 13\n#### 13\n"),
    ("line", "The answer is 18.\n"),
    ("line", "Answer: 18\n"),
    ("line", "**Answer:** 18 eggs\n"),
    ("line", "The answer is 18 because 9 * 2 = 18.\n"),
    ("line", "Answer: Monday\n"),
    ("line", "#### 18\n"),
    ("line", "The answer is found by adding 3 and 4:\n3 + 4 = 7\nThe answer is 7.\n"),
]

INCOMPLETE = [
    ("boxed", r"I will put the answer in \boxed{}"),
    ("boxed", r"I will put the answer in \boxed{ }."),
    ("boxed", r"\boxed{\frac{1}{2}"),
    ("boxed", "{18}"),
    ("boxed", "The answer is 18.\n"),
    ("hash", "#### 18"),
    ("hash", "####\n"),
    ("hash", "#### Step 1: Find the eggs\n"),
    ("hash", "#### 1. Count the eggs\n"),
    ("hash", "#### 2 hours 30 minutes\n"),
    ("hash", "The answer is 3 eggs, to begin with.\n"),
    ("hash", "#### Step 1: Find 3\nSo the total is 5\n"),
    ("line", "The answer is 18"),
    ("line", "The answer is found by adding 3 and 4:\n"),
    ("line", "To find the answer: multiply 3 by 4.\n"),
    ("line", "Answer: Let x be the eggs.\n"),
    ("line", "Answer: Janet has 16 - 3 = 13 left, and eats 4.\n"),
    ("line", "Since the answer is given as 2, we set up the equation:\n"),
    ("line", "The answer is not 18.\n"),
    ("line", "**Answer:**\n"),
    ("line", "So she has 18 eggs.\n"),
]


@pytest.mark.parametrize(("answer_format", "text"), COMPLETE)
def test_a_chain_ends_behind_its_answer(answer_format: str, text: str) -> None:
    assert completion_test(answer_format)(text)
    assert extract_answer(text) is not None


@pytest.mark.parametrize(("answer_format", "text"), INCOMPLETE)
def test_a_mark_without_an_answer_ends_nothing(answer_format: str, text: str) -> None:
    is_complete = completion_test(answer_format)
    assert not any(is_complete(text[:end]) for end in range(len(text) + 1))
