"""Passes of examples of any length come to few different shapes, and fill up with what counts for
nothing (that losses and gradients stay the same is in test_decoder.py)."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from random_examples import random_examples

from lorid_edge.train.descent.attention import Heads, reaches
from lorid_edge.train.descent.batches import lay_out
from lorid_edge.train.descent.shapes import POSITION_STEP, ROW_STEP, fill_rows, filled


@given(st.integers(0, 10_000), st.sampled_from([POSITION_STEP, ROW_STEP]))
def test_a_size_is_filled_up_to_the_next_multiple(count: int, step: int) -> None:
    assert filled(count, step) % step == 0
    assert count <= filled(count, step) < count + step


@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=200))
def test_rows_stay_in_front(values: list[int]) -> None:
    rows = fill_rows(torch.tensor(values), -100)
    assert rows[: len(values)].tolist() == values
    assert set(rows[len(values) :].tolist()) <= {-100}
    assert len(rows) == filled(len(values), ROW_STEP)


def test_a_row_reaches_the_prefix_its_example_and_nothing_ahead() -> None:
    batch = lay_out(random_examples(6), 7)
    heads = Heads(queries=4, keys=2, size=8)
    for only_trained in (False, True):
        for reach in reaches(batch, only_trained, heads, torch.float32):
            rows, keys = reach.mask.shape
            assert rows % (POSITION_STEP * heads.group) == keys % POSITION_STEP == 0
            for position in range(reach.positions):
                seen = reach.keys - reach.positions + position + 1
                for row in range(position * heads.group, (position + 1) * heads.group):
                    expected = [0.0] * seen + [float("-inf")] * (keys - seen)
                    assert reach.mask[row].tolist() == expected
            # No row may see nothing: its softmax would be of nothing, and no number.
            assert bool((reach.mask == 0).any(1).all())


def test_examples_of_many_lengths_make_few_shapes() -> None:
    examples = random_examples(400)
    heads = Heads(queries=4, keys=2, size=8)
    exact, shapes = set(), set()
    for start in range(0, 400, 8):
        batch = lay_out(examples[start : start + 8], 7)
        for reach in reaches(batch, False, heads, torch.float32):
            exact.add((reach.positions, reach.keys))
            shapes.add(tuple(reach.mask.shape))
    assert len(shapes) < len(exact) / 4
