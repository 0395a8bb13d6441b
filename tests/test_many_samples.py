"""Many samples in one lane, beside prompts of all lengths, and many problems in several lanes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lorid_edge.engine.context import BATCH_TOKENS, FEW_SEQUENCES, PLAIN_ATTENTION_TOKENS
from lorid_edge.engine.engine import Engine, EngineSettings
from lorid_edge.engine.feed import MOST_ROWS
from lorid_edge.engine.lane import Lane, LaneSettings
from lorid_edge.engine.model import BARE, AdapterKey, Model
from lorid_edge.engine.native import AbortFlag
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import GenerationRequest, Sequence
from lorid_edge.errors import ContextOverflowError

GREEDY = SamplingSettings(temperature=0)


@pytest.fixture
def lane(tiny_model: Model) -> Iterator[Lane]:
    lane = Lane(
        tiny_model, LaneSettings(sequence_tokens=1024, sequences=128, threads=2), AbortFlag()
    )
    yield lane
    lane.close()


@pytest.fixture
def tiny_base_with_adapter(
    tiny_base: Path, tmp_path: Path, write_adapter: Callable[[Path, int], str]
) -> Iterator[tuple[Model, AdapterKey]]:
    sha256 = write_adapter(tmp_path / "adapter.gguf", 1)
    model = Model(tiny_base)
    model.load_adapter(tmp_path / "adapter.gguf", sha256)
    yield model, AdapterKey(sha256, 1.0)
    model.close()


def text_tokens(model: Model, length: int, start: int = 0) -> tuple[int, ...]:
    """That many tokens of numbers in words."""
    text = " ".join(f"Take {n} apples and {n + 1} pears." for n in range(start, start + length))
    return tuple(model.tokenize(text, special=False)[:length])


def finish(lane: Lane) -> dict[int, Sequence]:
    done = {}
    while lane.has_work:
        for progress in lane.step():
            if progress.sequence.finish is not None:
                done[progress.ticket] = progress.sequence
    return done


def test_a_prompt_of_its_own_that_is_longer_than_a_decode_is_read_in_parts(
    lane: Lane, tiny_model: Model
) -> None:
    prompt = text_tokens(tiny_model, BATCH_TOKENS + 90)
    lane.submit(0, GenerationRequest(prompt, 4, seed=0, hold_tokens=10, sampling=GREEDY))
    in_parts = finish(lane)[0].tokens
    lane.release(0)
    held = len(prompt) - 1
    lane.submit(1, GenerationRequest(prompt, 4, seed=0, hold_tokens=held, sampling=GREEDY))
    assert in_parts == finish(lane)[1].tokens
    assert len(in_parts) == 4


def test_more_samples_than_one_decode_feeds_all_come_to_their_end(
    lane: Lane, tiny_model: Model
) -> None:
    count = MOST_ROWS + 20
    prompt = text_tokens(tiny_model, 12)
    for number in range(count):
        lane.submit(number, GenerationRequest(prompt, 3, seed=number, hold_tokens=11))
    done = finish(lane)
    assert sorted(done) == list(range(count))
    assert all(sequence.tokens for sequence in done.values())


def test_samples_wait_for_a_prompt_and_then_go_on(lane: Lane, tiny_model: Model) -> None:
    prompt = text_tokens(tiny_model, 8)
    for number in range(40):
        lane.submit(number, GenerationRequest(prompt, 12, seed=number, hold_tokens=7))
    assert [len(lane.step()) for _ in range(2)] == [0, 40]
    newcomer = text_tokens(tiny_model, 100, start=500)
    lane.submit(40, GenerationRequest(newcomer, 4, seed=0, hold_tokens=99, group=40))
    assert lane.step() == []  # the prompt alone
    assert len(lane.step()) >= 30  # all that have not ended, and the newcomer
    finish(lane)
    assert not lane.has_work


def test_samples_that_read_prompts_of_their_own_end_like_alone(
    lane: Lane, tiny_model: Model
) -> None:
    def request(number: int) -> GenerationRequest:
        return GenerationRequest(counting(tiny_model, number), 8, seed=0, sampling=GREEDY)

    alone = {}
    for number in range(5):
        lane.submit(number, request(number))
        alone[number] = finish(lane)[number].text
    assert len(set(alone.values())) == 5
    for number in range(5):
        lane.submit(number, request(number))
    assert {ticket: done.text for ticket, done in finish(lane).items()} == alone


def test_samples_go_on_unharmed_when_others_leave_gaps(lane: Lane, tiny_model: Model) -> None:
    """Every second one ends early; those behind it are moved up, with all that they hold."""

    def request(number: int, limit: int) -> GenerationRequest:
        prompt = counting(tiny_model, number)
        held = len(prompt) - 1
        return GenerationRequest(prompt, limit, 0, held, group=number, sampling=GREEDY)

    alone = {}
    for number in range(1, 12, 2):
        lane.submit(number, request(number, 20))
        alone[number] = finish(lane)[number].text
        lane.release(number)
    for number in range(12):
        lane.submit(number, request(number, 20 if number % 2 else 3))
    together = {ticket: done.text for ticket, done in finish(lane).items() if ticket % 2}
    assert together == alone


def counting(model: Model, number: int) -> tuple[int, ...]:
    """A prompt whose continuation is sure, and another for each number."""
    first = 20 + 10 * number
    text = ", ".join(str(n) for n in range(first, first + 8 + number))
    return tuple(model.tokenize(text + ",", special=True))


def small_lane(model: Model, sequence_tokens: int, sequences: int) -> Lane:
    return Lane(model, LaneSettings(sequence_tokens, sequences, threads=2), AbortFlag())


def holding(prompt: tuple[int, ...], group: int = 0, max_tokens: int = 4) -> GenerationRequest:
    """A greedy request that holds all of its prompt but the last token."""
    held = len(prompt) - 1
    return GenerationRequest(prompt, max_tokens, 0, held, group=group, sampling=GREEDY)


@pytest.mark.parametrize("sequences", [FEW_SEQUENCES, FEW_SEQUENCES + 1])
@pytest.mark.parametrize("attention", ["plain", "flash"])
def test_samples_write_the_same_with_either_attention_and_cache(
    tiny_model: Model, sequences: int, attention: str
) -> None:
    tokens = 256 if attention == "plain" else PLAIN_ATTENTION_TOKENS + 1
    lane = small_lane(tiny_model, tokens, sequences)
    for ticket in range(sequences):
        lane.submit(ticket, holding(counting(tiny_model, 3), max_tokens=8))
    texts = {sequence.text for sequence in finish(lane).values()}
    lane.close()
    assert texts == {" 61, 62,"}


def test_one_sequence_is_enough_for_prompts_of_many_problems(tiny_model: Model) -> None:
    lane = small_lane(tiny_model, sequence_tokens=100, sequences=1)
    for ticket, group in enumerate((0, 0, 1)):
        lane.submit(ticket, holding(text_tokens(tiny_model, 60, start=100 * ticket), group))
    assert sorted(finish(lane)) == [0, 1, 2]
    lane.close()


def test_a_sample_may_fill_its_sequence_to_the_last_token(tiny_model: Model) -> None:
    """Whatever the others hold: no sample takes room from another."""
    lane = small_lane(tiny_model, sequence_tokens=256, sequences=3)
    prompt = text_tokens(tiny_model, 250)
    with pytest.raises(ContextOverflowError, match="does not fit"):
        lane.submit(0, holding(prompt, max_tokens=7))
    for ticket in range(3):
        lane.submit(ticket, holding(prompt, group=ticket, max_tokens=6))
    assert {len(sequence.tokens) for sequence in finish(lane).values()} == {6}
    lane.close()


def test_a_prompt_that_begins_like_another_of_its_problem_is_copied(tiny_model: Model) -> None:
    lane = small_lane(tiny_model, sequence_tokens=256, sequences=2)
    prompt = text_tokens(tiny_model, 12)
    for ticket in range(2):
        lane.submit(ticket, holding(prompt, max_tokens=2 + 6 * ticket))
    lane.submit(2, holding((*prompt[:6], 1), max_tokens=2))  # held by copying alone
    assert sorted(finish(lane)) == [0, 1, 2]
    tokens = lane.release(0)
    assert (tokens.prompt, tokens.cached) == (11 + 3, 11 + 6)
    lane.close()


def test_the_fullest_lane_decodes_first_and_the_others_come_after(
    tiny_base_with_adapter: tuple[Model, AdapterKey],
) -> None:
    model, key = tiny_base_with_adapter
    lane = LaneSettings(sequence_tokens=256, sequences=24, threads=2)
    engine = Engine(model, EngineSettings(lane, fullest_first=True))
    engine.prepare(BARE, [])
    engine.prepare(key, [])
    prompt = text_tokens(model, 8)
    alone = engine.submit(GenerationRequest(prompt, 3, seed=0, hold_tokens=7, group=0))
    others = {
        engine.submit(GenerationRequest(prompt, 3, seed=n, hold_tokens=7, group=1, key=key))
        for n in range(6)
    }
    ended = []
    while engine.has_work:
        ended += [p.ticket for p in engine.step() if p.sequence.finish is not None]
    engine.close()
    assert set(ended) == {alone, *others}
    assert ended[-1] == alone
