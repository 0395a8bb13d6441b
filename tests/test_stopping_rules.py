"""The benchmark that plays stopping rules on recorded draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from counted_votes import CountedPolicy
from stopping_rules import (
    Draw,
    DrawnProblem,
    Rule,
    drawn_problem,
    play,
    play_all,
    vote_of,
)

from lorid_edge.answers.judging import Judge
from lorid_edge.loop.policies import PaperPolicy, VotePolicy, Wave
from lorid_edge.loop.solution import Sample
from lorid_edge.roles import Role

IR, KG, DR = Role.INTUITIVE_REASONER, Role.KNOWLEDGE_GENERATOR, Role.DEEP_REASONER


def intuitive(*clusters: int | None) -> list[Draw]:
    return [Draw(IR, cluster, 100) for cluster in clusters]


def deep(*clusters: int | None) -> list[Draw]:
    return [Draw(DR, cluster, 150) for cluster in clusters]


def sample(
    role: Role,
    index: int,
    answer: str | None,
    tokens: int,
    finish: Any = "stop",
    entropy_nats: float | None = None,
) -> Sample:
    return Sample(
        role=role,
        round=1,
        index=index,
        text="",
        answer=answer,
        tokens=tokens,
        finish=finish,
        entropy_nats=entropy_nats,
    )


def test_two_equal_first_thoughts_end_counting_at_their_cost() -> None:
    draws = {IR: intuitive(7, 7, 3), DR: deep(3)}
    assert play(CountedPolicy(1), draws, frozenset({7})) == (True, 200, 1)


def test_counting_goes_on_as_long_as_the_answers_differ() -> None:
    draws = {IR: intuitive(7, 3, 3, 3), DR: deep(3, 3)}
    is_right, tokens, rounds = play(CountedPolicy(1), draws, frozenset({3}))
    # 7 3 | 3 (deep) | 3 at 100 tokens: three votes to one, and the deep one has grown as far
    assert (is_right, tokens, rounds) == (True, 200 + 150 + 100 + 100, 3)


def test_a_rule_that_runs_out_of_rounds_gives_the_best_so_far() -> None:
    rule = Rule([Wave(1, 0), Wave(1, 0)], confidence=0.8)
    assert play(rule, {IR: intuitive(None, 4), DR: []}, frozenset({4})) == (True, 200, 2)
    assert play(rule, {IR: intuitive(None, None), DR: []}, frozenset({4})) == (False, 200, 2)


def test_a_vote_stops_once_it_is_decided() -> None:
    assert play(VotePolicy(1, 5), {IR: intuitive(1, 1, 1, 2, 2), DR: []}, frozenset({2})) == (
        False,
        300,
        3,
    )


def test_a_rule_cannot_use_more_than_was_drawn() -> None:
    with pytest.raises(AssertionError, match="more than was drawn"):
        play(PaperPolicy(1), {IR: intuitive(1), DR: deep(2)}, frozenset({1}))


def test_draws_know_their_knowledge_and_which_answers_are_right() -> None:
    samples = [
        sample(IR, 0, "0.5", 10),
        sample(KG, 0, None, 40),
        sample(DR, 0, "1/2", 20),
        sample(IR, 1, None, 30),
        sample(IR, 2, "0.5", 352, finish="length"),  # asked for: no vote
    ]
    problem = drawn_problem(samples, Judge("0.50"), {})
    assert problem.draws == {
        IR: [Draw(IR, 0, 10), Draw(IR, None, 30), Draw(IR, None, 352)],
        DR: [Draw(DR, 0, 60)],
    }
    assert problem.right == {0}


def test_draws_weigh_by_what_is_usual_for_their_role() -> None:
    samples = [
        sample(IR, 0, "1", 10, entropy_nats=0.1),
        sample(IR, 1, "2", 10, entropy_nats=0.3),
        sample(KG, 0, None, 40, entropy_nats=0.9),
        sample(DR, 0, "1", 20, entropy_nats=0.5),
    ]
    draws = drawn_problem(samples, Judge("1"), {IR: 0.2, DR: 0.5}).draws
    assert draws[DR] == [Draw(DR, 0, 60, 1.0)]
    assert draws[IR][0].weight > 1 > draws[IR][1].weight


def test_the_surest_answer_is_right_where_most_are_wrong() -> None:
    draws = {IR: [Draw(IR, 1, 10, 0.2), Draw(IR, 1, 10, 0.2), Draw(IR, 2, 10, 3.0)], DR: []}
    assert play(VotePolicy(1, 3), draws, frozenset({2}))[0] is False
    assert play(Rule([Wave(1, 0)] * 3, confidence=2), draws, frozenset({2})) == (True, 30, 3)


def test_rules_are_compared_with_a_vote_of_as_many_tokens() -> None:
    problems = [
        DrawnProblem({IR: intuitive(1, 1, 1, 1), DR: deep(1)}, frozenset({1})),
        DrawnProblem({IR: intuitive(1, 1, 1, 1), DR: deep(2)}, frozenset({2})),
    ]
    rules = {"vote 1": VotePolicy(1, 1), "vote 3": VotePolicy(1, 3), "deep": Rule([Wave(0, 1)], 1)}
    rows = {row["rule"]: row for row in play_all(rules, problems, orders=3)}
    assert list(rows) == ["vote 1", "deep", "vote 3"]  # 100, 150 and 200 tokens
    assert rows["deep"]["right_percent"] == 100
    assert rows["deep"]["gain_over_vote_percent"] == 50
    assert rows["vote 3"]["gain_over_vote_percent"] == 0


def test_a_vote_between_two_sizes_lies_between_them() -> None:
    votes = [np.array([[0.0, 100.0, 1.0]]), np.array([[1.0, 200.0, 2.0]])]
    assert vote_of(150, votes).tolist() == [0.5]
    assert vote_of(50, votes).tolist() == [0.0]
    assert vote_of(900, votes).tolist() == [1.0]
