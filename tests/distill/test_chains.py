"""What of a sample is worth training on."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lorid_edge.distill.chains import chain_without_answer, correct_chains, distinct
from lorid_edge.engine.sequence import Finish


@dataclass
class Sample:
    """What is read of a finished sequence."""

    text: str
    finish: Finish = Finish.STOP
    tokens: tuple[int, ...] = (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        (r"3 * 12 = 36. The answer is \boxed{36", "3 * 12 = 36."),
        (r"It costs 6.50 now. So the final answer is: \boxed{6.5}.", "It costs 6.50 now."),
        ("He has 4.\n#### 4", "He has 4."),
        ("He has 4.\n\n**Answer:** 4", "He has 4."),
        (r"The answer is \boxed{4}", ""),
        (r"2 + 2 = 4. So the answer is 2 + 2 = 4. The answer is \boxed{4}", "2 + 2 = 4."),
        (r"So 2 * 2 = \boxed{4}", "So 2 * 2 = 4."),
        (r"He has \(2 + 2 = \boxed{4}", r"He has \(2 + 2 = 4 \)"),
        (r"He has \(\boxed{4}" + "\\", r"He has \(4 \)"),
        ("It is:\n\\[\n\\boxed{4}\n\\]", "It is:\n\\[\n4\n\\]"),
        ("It is 2 + 2 = 4.\n\\[ \\boxed{4} \\]", "It is 2 + 2 = 4."),
        (r"The answer is near. 2 + 2 = \boxed{4}", "The answer is near. 2 + 2 = 4."),
    ],
)  # fmt: skip
def test_a_chain_ends_before_its_answer(text: str, chain: str) -> None:
    assert chain_without_answer(text) == chain


def test_only_right_and_whole_samples_are_kept() -> None:
    samples = (
        Sample(r"2 + 2 = 4. The answer is \boxed{4}."),
        Sample(r"2 + 2 = 5. The answer is \boxed{5}."),
        Sample(r"2 + 2 = 4. The answer is \boxed{4}. And then", Finish.LENGTH),
        Sample(r"The answer is \boxed{4}."),
        Sample(r"Two and two make \boxed{4.00}", Finish.END),
        Sample("I do not know.", Finish.END),
    )
    chains = correct_chains(samples, "so it is\n#### 4")  # type: ignore[arg-type]
    assert [(chain.sample, chain.text) for chain in chains] == [
        (0, "2 + 2 = 4."),
        (4, "Two and two make 4.00."),
    ]


def test_one_chain_for_each_way_the_shortest() -> None:
    samples = (
        Sample(r"There are 3 * 4 = 12 of them, then. The answer is \boxed{12}."),
        Sample(r"4 * 3 = 12. The answer is \boxed{12}."),
        Sample(r"3 boxes x 4 = 12. The answer is \boxed{12}."),
        Sample(r"A dozen. The answer is \boxed{12}."),
        Sample(r"a dozen! The answer is \boxed{12}."),
    )
    kept = distinct(correct_chains(samples, "12"))  # type: ignore[arg-type]
    assert [chain.sample for chain in kept] == [1, 2, 3]
