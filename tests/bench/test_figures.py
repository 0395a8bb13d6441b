"""From single measurements to medians, spreads and rows of bars."""

from __future__ import annotations

import math

from lorid_edge.bench.figures import Figure, Measurement, collect, group

ONE, FOUR = (("sequences", 1), ("adapter", "none")), (("sequences", 4), ("adapter", "none"))


def test_runs_of_the_same_case_become_one_figure() -> None:
    first, second = collect(
        [
            Measurement("decode", 10.0, ONE),
            Measurement("decode", 40.0, FOUR),
            Measurement("decode", 30.0, ONE),
            Measurement("decode", 44.0, FOUR),
            Measurement("decode", 14.0, ONE),
        ]
    )
    assert first.labels == {"sequences": 1, "adapter": "none"}
    assert (first.median, first.minimum, first.maximum) == (14.0, 10.0, 30.0)
    assert first.values == (10.0, 30.0, 14.0)
    assert second.median == 42.0


def test_infinite_counts_as_more_than_any_number_and_is_null_in_json() -> None:
    paid_for_nothing = Measurement("seconds_per_right", math.inf, (("policy", "ir"),))
    finite = Measurement("seconds_per_right", 9.0, (("policy", "ir"),))
    (figure,) = collect([finite, paid_for_nothing, paid_for_nothing])
    assert (figure.minimum, figure.median, figure.maximum) == (9.0, None, None)
    assert Figure.model_validate_json(figure.model_dump_json()) == figure


def test_rows_share_the_scale_of_their_group_and_name_their_case() -> None:
    measured = [
        Measurement("decode", 10.0, ONE),
        Measurement("decode", 40.0, FOUR),
        Measurement("switch", 2.0),
        Measurement("switch_first_step", 8.0),
    ]
    writing, switching = group(collect(measured))
    assert [row.case for row in writing.rows] == ["1 sequence, bare base", "4 sequences, bare base"]
    assert [row.length for row in writing.rows] == [0.25, 1.0]
    assert writing.rows[1].text == "40.0 (40.0 to 40.0) tokens/s"
    assert [row.case for row in switching.rows] == ["the switch", "the first decode after it"]
    assert [row.length for row in switching.rows] == [0.25, 1.0]


def test_infinite_values_are_shown_in_words() -> None:
    def text(*values: float) -> str:
        case = (("policy", "ir"),)
        (one,) = group(collect(Measurement("seconds_per_right", v, case) for v in values))
        return one.rows[0].text

    assert text(math.inf, math.inf) == "no right answer"
    assert text(9.0, 4.0, math.inf) == "9.00 (4.00 to no right answer) s"
