"""Stopping rules on answers written by hand: what they ask for and when they stop."""

from __future__ import annotations

import itertools

import pytest
from counted_votes import CountedPolicy, probability_of_lead
from scipy.stats import beta

from lorid_edge.errors import UsageError
from lorid_edge.loop.evidence import DOUBT, RETURNS, Tally, vote_weight
from lorid_edge.loop.policies import (
    POLICIES,
    STOPPING_CONFIDENCE,
    Verdict,
    Wave,
    make_policy,
)
from lorid_edge.loop.solution import Status
from lorid_edge.roles import Role

IR, DR = Role.INTUITIVE_REASONER, Role.DEEP_REASONER


def tally(intuitive: list[str | None], deep: list[str | None] | None = None) -> Tally:
    votes = Tally()
    for answer in intuitive:
        votes.add(IR, answer)
    for answer in deep or []:
        votes.add(DR, answer)
    return votes


def weighed(*votes: tuple[str, float]) -> Tally:
    """Intuitive answers, each with its weight."""
    found = Tally()
    for answer, weight in votes:
        found.add(IR, answer, weight)
    return found


def outcome(verdict: Verdict | None, votes: Tally) -> tuple[str | None, str] | None:
    if verdict is None:
        return None
    answer = None if verdict.cluster is None else votes.answer(verdict.cluster)
    return answer, verdict.status.value


@pytest.mark.parametrize(("leader", "runner_up"), [*itertools.product(range(1, 12), range(6))])
def test_the_probability_of_the_lead_is_the_tail_of_the_beta(leader: int, runner_up: int) -> None:
    expected = beta.sf(0.5, leader + 1, runner_up + 1)
    assert probability_of_lead(leader, runner_up) == pytest.approx(expected, abs=1e-12)


def test_a_chain_as_sure_as_usual_has_the_weight_1_and_a_surer_one_more() -> None:
    weights = [vote_weight(nats, 0.2) for nats in (0.0, 0.1, 0.2, 0.3, 1.0)]
    assert weights[2] == 1
    assert weights == sorted(weights, reverse=True)
    assert all(weight > 0 for weight in weights)


def test_entropy_counts_in_multiples_of_what_is_usual() -> None:
    assert vote_weight(0.1, 0.2) == pytest.approx(vote_weight(0.3, 0.6))


def test_a_chain_of_unknown_entropy_weighs_as_a_usual_one() -> None:
    assert vote_weight(None, 0.2) == vote_weight(None, None) == 1


def test_a_sure_vote_outweighs_two_unsure_ones() -> None:
    votes = weighed(("7", 0.2), ("9", 1.5), ("7", 0.3))
    assert votes.answer(votes.leader() or 0) == "9"
    assert votes.ranked() == [(0, 2), (1, 1)]
    assert outcome(make_policy("adaptive", 1).give_up(votes), votes) == ("9", "undecided")


def test_confidences_of_all_answers_and_the_doubt_add_up_to_one() -> None:
    votes = weighed(("7", 0.4), ("9", 1.5), ("7", 1.3), ("8", 0.1))
    doubt = DOUBT / (DOUBT + 1.7**RETURNS + 1.5**RETURNS + 0.1**RETURNS)
    assert sum(votes.confidence(i) for i in range(3)) + doubt == pytest.approx(1)
    assert votes.confidence(0) > votes.confidence(1) > votes.confidence(2) > 0


def test_confidence_grows_with_votes_for_an_answer_and_falls_with_votes_against() -> None:
    alone, twice = weighed(("7", 1)), weighed(("7", 1), ("7", 1))
    against = weighed(("7", 1), ("7", 1), ("9", 1))
    assert twice.confidence(0) > alone.confidence(0)
    assert twice.confidence(0) > against.confidence(0) > against.confidence(1)


def test_nothing_is_known_of_an_answer_without_votes() -> None:
    votes = Tally()
    votes.add(DR, "4", asked=True)
    assert votes.leader() is None
    assert votes.confidence(None) == votes.confidence(0) == 0


def test_answers_of_one_value_are_one_vote_class() -> None:
    votes = tally(["0.5", "1/2"], ["$0.50"])
    assert votes.lead() == (3, 0)
    assert votes.agreed() == [0]


def test_an_answer_that_was_asked_for_is_no_vote_but_better_than_none() -> None:
    votes = Tally()
    votes.add(IR, "4", asked=True)
    votes.add(DR, "4", asked=True)
    assert (votes.lead(), votes.leader(), votes.agreed()) == ((0, 0), None, [])
    for name in ("ir", "dr", "paper", "vote", "adaptive"):
        policy = make_policy(name, 1)
        assert policy.decide(votes) is None
        assert outcome(policy.give_up(votes), votes) == ("4", "undecided")
    votes.add(IR, "7")
    assert outcome(make_policy("ir", 1).decide(votes), votes) == ("7", "voted")
    assert outcome(make_policy("adaptive", 1).give_up(votes), votes) == ("7", "undecided")


def test_a_sample_without_an_answer_is_no_vote() -> None:
    votes = tally([None, "3"], [None])
    assert votes.lead() == (1, 0)
    assert votes.finished == {IR: 2, DR: 1}


def test_equal_numbers_of_votes_are_ranked_by_weight_and_then_by_age() -> None:
    votes = weighed(("7", 1), ("9", 1), ("8", 1), ("9", 0.1), ("8", 0.2))
    assert votes.ranked() == [(2, 2), (1, 2), (0, 1)]
    assert tally(["7", "9"]).ranked() == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("name", "intuitive", "deep", "expected"),
    [
        ("ir", ["18"], [], ("18", "voted")),
        ("ir", [None], [], None),
        ("dr", [], ["18"], ("18", "voted")),
        ("paper", ["18"], ["17"], None),
        ("paper", ["18", "18", "18"], [], None),
        ("paper", ["18", "3"], ["17", "3"], ("3", "agreed")),
        ("paper", ["0.5"], ["\\frac{1}{2}"], ("0.5", "agreed")),
        ("vote", ["4", "4", "4", "4"], [], None),
        ("vote", ["4", "4", "4", "4", "4"], [], ("4", "voted")),
        ("vote", ["1", "2", "1", "2", "1", "2", "1", "3"], [], ("1", "voted")),
        ("vote", ["1", "2", "1", "2", "1", "2", "1"], [], None),
        ("vote", [None] * 8, [], None),
        ("adaptive", ["5"], [], None),
        ("adaptive", [], [], None),
        ("adaptive", ["5"] * 4, [], ("5", "voted")),
        ("adaptive", ["5", "6"], ["5"], None),
        ("adaptive", ["5", "6", "5", "5", "5"], ["5"], ("5", "agreed")),
        ("counted", ["5"], [], None),
        ("counted", [], [], None),
        ("counted", ["5", "5"], [], ("5", "voted")),
        ("counted", ["5", "6"], ["5"], None),
        ("counted", ["5", "6", "5"], ["5"], ("5", "agreed")),
        ("counted", ["5", "6", "5", "6"], ["5"], None),
    ],
)
def test_verdicts(
    name: str,
    intuitive: list[str | None],
    deep: list[str | None],
    expected: tuple[str, str] | None,
) -> None:
    votes = tally(intuitive, deep)
    assert outcome(make_policy(name, width=4).decide(votes), votes) == expected


def test_adaptive_stops_exactly_at_its_confidence() -> None:
    policy = make_policy("adaptive", width=1)
    for first, second, against in itertools.product((0.1, 0.5, 1, 2, 4), repeat=3):
        votes = weighed(("1", first), ("1", second), ("2", against))
        reached = max(votes.confidence(0), votes.confidence(1)) >= STOPPING_CONFIDENCE
        assert (policy.decide(votes) is not None) == reached


def test_two_sure_chains_that_agree_are_enough_and_two_unsure_ones_are_not() -> None:
    policy = make_policy("adaptive", width=1)
    sure, unsure = vote_weight(0.1, 0.2), vote_weight(0.3, 0.2)
    assert policy.decide(weighed(("5", sure), ("5", sure))) == Verdict(0, Status.VOTED)
    assert policy.decide(weighed(("5", unsure), ("5", unsure))) is None


def test_adaptive_asks_intuition_first_and_then_both() -> None:
    policy = make_policy("adaptive", width=4)
    waves = [policy.wave(number, tally([])) for number in range(1, 4)]
    assert waves == [Wave(2, 0), Wave(0, 4), Wave(4, 4)]


@pytest.mark.parametrize(("width", "rounds"), [(1, 4), (2, 3), (4, 3), (8, 3)])
def test_adaptive_gives_up_later_with_fewer_samples_a_round(width: int, rounds: int) -> None:
    assert make_policy("adaptive", width).max_rounds == rounds


def waves(name: str, width: int, max_rounds: int | None = None) -> list[Wave]:
    policy = make_policy(name, width, max_rounds)
    return [policy.wave(number, tally([])) for number in range(1, policy.max_rounds + 1)]


@pytest.mark.parametrize("width", range(1, 33))
def test_the_paper_and_a_vote_take_their_samples_at_any_width(width: int) -> None:
    paper, vote = waves("paper", width), waves("vote", width)
    assert (sum(wave.intuitive for wave in paper), sum(wave.deep for wave in paper)) == (20, 20)
    assert (sum(wave.intuitive for wave in vote), sum(wave.deep for wave in vote)) == (8, 0)
    for asked in (paper, vote):
        assert all(wave.intuitive == width for wave in asked[:-1])
        assert 1 <= asked[-1].intuitive <= width


def test_with_other_rounds_the_paper_and_a_vote_take_rounds_times_width() -> None:
    assert waves("paper", 3, 2) == [Wave(3, 3)] * 2
    assert waves("paper", 4, 6) == [Wave(4, 4)] * 6
    assert waves("vote", 3, 4) == [Wave(3, 0)] * 4
    five_of_six = tally(["4"] * 5 + ["5"])
    assert make_policy("vote", 3, 4).decide(five_of_six) is None
    assert outcome(make_policy("vote", 3).decide(five_of_six), five_of_six) == ("4", "voted")


def test_giving_up_names_the_best_answer_so_far() -> None:
    votes = tally(["1", "2", "2"], ["3"])
    assert outcome(make_policy("paper", 1).give_up(votes), votes) == ("2", "undecided")
    nothing = tally([None])
    assert make_policy("paper", 1).give_up(nothing) == Verdict(None, Status.UNDECIDED)


@pytest.mark.parametrize(
    ("name", "width", "rounds", "message"),
    [
        ("best", 4, None, "adaptive"),
        ("ir", 0, None, "at least 1"),
        ("paper", 4, 0, "at least 1"),
    ],
)
def test_impossible_settings_are_named(
    name: str, width: int, rounds: int | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_policy(name, width, rounds)


def test_every_policy_of_the_command_line_is_there() -> None:
    offered = [name for name in POLICIES if name != CountedPolicy.name]  # that of benchmarks
    assert offered == ["ir", "dr", "paper", "vote", "adaptive"]
