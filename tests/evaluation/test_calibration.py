"""The reliability curve and the expected calibration error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorid_edge.evaluation.calibration import calibration

judged_lists = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(judged_lists)
def test_the_error_is_the_textbooks(judged: list[tuple[float, bool]]) -> None:
    confidence = np.array([pair[0] for pair in judged])
    right = np.array([pair[1] for pair in judged], dtype=float)
    number = np.minimum((confidence * 10).astype(int), 9)
    gaps = [
        np.mean(number == b) * abs(confidence[number == b].mean() - right[number == b].mean())
        for b in np.unique(number)
    ]
    measured = calibration(judged)
    assert measured.expected_error == pytest.approx(sum(gaps))
    assert measured.overconfidence == pytest.approx(confidence.mean() - right.mean())
    assert sum(item.accuracy.problems for item in measured.bins) == len(judged)
    for item in measured.bins:
        assert item.low <= item.confidence + 1e-12
        assert item.confidence <= item.high + 1e-12


def test_a_coin_that_is_said_to_be_one_is_calibrated() -> None:
    measured = calibration([(0.5, True), (0.5, False)])
    assert (measured.expected_error, measured.overconfidence) == (0.0, 0.0)
    assert [(item.low, item.high) for item in measured.bins] == [(0.5, 0.6)]


def test_certainty_falls_into_the_last_bin_and_none_is_no_error() -> None:
    assert [item.low for item in calibration([(1.0, True), (0.95, False)]).bins] == [0.9]
    assert calibration([]).bins == ()
    assert calibration([]).expected_error == 0.0
