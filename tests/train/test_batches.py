"""What forms a step and a pass."""

from __future__ import annotations

from itertools import pairwise

from random_examples import random_examples

from lorid_edge.train.descent.batches import (
    ExampleOrder,
    common_prefix_tokens,
    examples_sha256,
    lay_out,
    split_step,
)
from lorid_edge.train.job import TokenExample


def test_the_common_prefix_leaves_each_prompt_a_token() -> None:
    def example(*prompt: int) -> TokenExample:
        return TokenExample(prompt, (9,))

    assert common_prefix_tokens([example(1, 2, 3), example(1, 2, 4, 5)]) == 2
    assert common_prefix_tokens([example(1, 2), example(1, 2)]) == 1
    assert common_prefix_tokens([example(1, 2), example(3, 2)]) == 0
    assert common_prefix_tokens([example(1)]) == 0


def test_a_pass_holds_the_prefix_once_and_every_target() -> None:
    first, second = TokenExample((1, 2, 3), (4, 5)), TokenExample((1, 2, 6, 7), (8,))
    batch = lay_out([first, second], 2)
    assert batch.tokens.tolist() == [1, 2, 3, 4, 6, 7]
    assert batch.positions.tolist() == [0, 1, 2, 3, 2, 3]
    assert batch.trained_rows.tolist() == [2, 3, 5]
    assert batch.targets.tolist() == [4, 5, 8]
    assert batch.example_tokens == 10


def test_a_split_keeps_every_example_and_the_limit() -> None:
    examples = random_examples(40)
    groups = split_step(examples, 64, 7)
    assert sorted(hash(example) for group in groups for example in group) == sorted(
        map(hash, examples)
    )
    for group in groups:
        assert lay_out(group, 7).tokens.numel() <= 64
    alone = split_step(examples, 1, 7)
    assert [len(group) for group in alone] == [1] * 40


def test_padding_counts_where_there_is_some() -> None:
    examples = random_examples(40)
    groups = split_step(examples, 64, 0, is_padded=True)
    assert sorted(hash(example) for group in groups for example in group) == sorted(
        map(hash, examples)
    )
    lengths = [[len(example.prompt + example.completion) for example in group] for group in groups]
    assert all(len(group) * max(group) <= 64 for group in lengths)
    assert any(len(group) > 1 for group in lengths)
    for group, following in pairwise(lengths):  # as many as there is room for
        assert (len(group) + 1) * max(*group, *following) > 64


def test_every_example_is_seen_once_an_epoch_in_an_order_of_its_own() -> None:
    examples = random_examples(10)
    order = ExampleOrder(examples, 2, 4, seed=3)
    seen = [example for step in range(order.steps) for example in order.step(step)]
    assert order.steps == 5
    assert sorted(map(hash, seen[:10])) == sorted(map(hash, examples))
    assert sorted(map(hash, seen[10:])) == sorted(map(hash, examples))
    assert seen[:10] != seen[10:]


def test_the_hash_tells_prompt_from_completion() -> None:
    assert examples_sha256([TokenExample((1, 2), (3,))]) != examples_sha256(
        [TokenExample((1,), (2, 3))]
    )
