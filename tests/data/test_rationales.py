"""Annotations and equations of chains of thought."""

from __future__ import annotations

import pytest

from lorid_edge.data.rationales import equations, without_annotations


def test_a_text_without_annotations_reads_as_before() -> None:
    annotated = "She sold 48/2 = <<48/2=24>>24 clips.\nShe got 24*$2=$<<24*2=48>>48 if 1 << 2."
    assert without_annotations(annotated) == (
        "She sold 48/2 = 24 clips.\nShe got 24*$2=$48 if 1 << 2."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are 3 * 12 = 36 rolls.", ("3*12=36",)),
        ("3 trays x 12 rolls/tray = 36 rolls", ("3*12=36",)),
        ("2 tubs of gloss * 2 tubes of gloss = 4", ("2*2=4",)),
        (r"\[ 3 \times 12 = 36 \]", ("3*12=36",)),
        ("48/2 = <<48/2=24>>24 clips, so 48/2 = 24", ("48/2=24",)),
        ("$1,200.50 - $200.50 = $1,000", ("2401/2-401/2=1000",)),
        ("2*3+1 = 6+1 = 7", ("2*3+1=7", "6+1=7")),
        ("20% of 50 = 10", ("20%*50=10",)),
        ("20 – 12 = 8 years", ("20-12=8",)),
        ("1. 5 + 5 = 10\n2. 10 / 2 = 5", ("5+5=10", "10/2=5")),
        ("x = 5 and 4*x = 20, or 7 = 7", ()),
        ("8 / 0 = ?", ()),
    ],
)
def test_equations(text: str, expected: tuple[str, ...]) -> None:
    assert equations(text) == expected


def test_a_chain_that_repeats_itself_takes_no_time() -> None:
    assert len(equations("1+" * 50_000 + "1=3 " * 1000)) == 1


def test_other_words_for_the_same_steps_are_the_same_equations() -> None:
    first = "He has 3 * 12 = 36 eggs, and 36 - 4 = 32 are whole."
    second = "3 boxes x 12 eggs = 36 eggs\n36 eggs - 4 eggs = 32 eggs"
    assert equations(first) == equations(second) == ("3*12=36", "36-4=32")
