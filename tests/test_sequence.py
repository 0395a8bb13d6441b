"""Sequences on the tiny base's vocabulary, with logits written by hand: what the model 'says'.

The logits are the seam: everything above them is real.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lorid_edge.answers import extract_answer
from lorid_edge.engine.model import Model
from lorid_edge.engine.sampling import LogitsRow, SamplingSettings
from lorid_edge.engine.sequence import Closing, Finish, GenerationRequest, Sequence
from lorid_edge.loop.answer_marks import completion_test

GREEDY = SamplingSettings(temperature=0)


def start(
    model: Model,
    *,
    max_tokens: int = 100,
    stop: tuple[str, ...] = (),
    calculator: bool = False,
    is_complete: Callable[[str], bool] | None = None,
    closing: Closing | None = None,
) -> Sequence:
    request = GenerationRequest(
        (1,),
        max_tokens,
        seed=0,
        sampling=GREEDY,
        stop=stop,
        calculator=calculator,
        is_complete=is_complete,
        closing=closing,
    )
    return Sequence(0, request, model)


def row(model: Model, token: int) -> LogitsRow:
    logits = np.zeros(model.vocabulary_size, dtype=np.float32)
    logits[token] = 10.0
    return logits


def say(sequence: Sequence, model: Model, text: str) -> list[str]:
    """Lets the model say `text` token by token; returns the text that came out at each."""
    came = []
    for token in model.tokenize(text, special=False):
        if sequence.finish is None:
            rows = [row(model, token)] * sequence.wanted_logits()
            came.append(sequence.receive(rows))
    return came


@pytest.mark.parametrize("text", ["Größe 日本語 🎉 né", "🏳️‍🌈 x", "plain"])
def test_streamed_text_is_whole_characters(tiny_model: Model, text: str) -> None:
    sequence = start(tiny_model)
    came = say(sequence, tiny_model, text)
    assert "".join(came) == text
    assert not any("\ufffd" in part for part in came)


def test_a_character_cut_off_at_the_limit_is_marked_not_lost(tiny_model: Model) -> None:
    tokens = tiny_model.tokenize("🎉", special=False)
    assert len(tokens) > 1
    sequence = start(tiny_model, max_tokens=1)
    assert say(sequence, tiny_model, "🎉") == ["\ufffd"]
    assert sequence.finish is Finish.LENGTH


def test_a_stop_string_across_tokens_never_shows(tiny_model: Model) -> None:
    sequence = start(tiny_model, stop=("\n\nProblem:",))
    came = say(sequence, tiny_model, "So 9 eggs.\n\nProblem: another")
    assert "".join(came) == sequence.text == "So 9 eggs."
    assert sequence.finish is Finish.STOP


def test_held_back_text_comes_when_it_is_no_stop_string(tiny_model: Model) -> None:
    sequence = start(tiny_model, stop=("\n\nProblem:",))
    came = say(sequence, tiny_model, "a\n\nProof")
    assert "".join(came) == "a\n\nProof"


def test_the_end_of_turn_ends_it_without_text(tiny_model: Model) -> None:
    end = next(t for t in range(tiny_model.vocabulary_size) if tiny_model.is_end(t))
    sequence = start(tiny_model)
    say(sequence, tiny_model, "Nine.")
    sequence.receive([row(tiny_model, end)])
    assert sequence.finish is Finish.END
    assert sequence.text == "Nine."


def test_a_complete_answer_ends_it(tiny_model: Model) -> None:
    sequence = start(tiny_model, is_complete=lambda text: "done" in text)
    say(sequence, tiny_model, "It is done and more")
    assert sequence.finish is Finish.STOP
    assert sequence.text.endswith("done")


def test_the_calculator_writes_the_result_in_the_style_of_the_text(tiny_model: Model) -> None:
    sequence = start(tiny_model, calculator=True)
    came = say(sequence, tiny_model, "She has 16 - 3 - 4 =")
    assert "".join(came) == "She has 16 - 3 - 4 = 9"
    assert sequence.forced_tokens == len(tiny_model.continuation_tokens(" 9"))
    assert len(sequence.pending) == 1 + sequence.forced_tokens  # fed in one batch
    assert sequence.wanted_logits() == 1 + sequence.forced_tokens


def test_a_result_the_model_would_have_written_is_no_correction(tiny_model: Model) -> None:
    sequence = start(tiny_model, calculator=True)
    say(sequence, tiny_model, "48/2=")
    own = [row(tiny_model, token) for token in tiny_model.continuation_tokens("24")]
    sequence.receive([*own, row(tiny_model, tiny_model.tokenize(" clips", special=False)[0])])
    assert [(call.text, call.differed) for call in sequence.calculator_calls] == [("24", False)]
    assert sequence.text == "48/2=24 clips"


@pytest.mark.parametrize("own", ["25", "34", "240"])
def test_a_result_the_model_would_have_got_wrong_is_counted(tiny_model: Model, own: str) -> None:
    sequence = start(tiny_model, calculator=True)
    say(sequence, tiny_model, "48/2=")
    tokens = [*tiny_model.continuation_tokens(own), tiny_model.tokenize(" clips", special=False)[0]]
    sequence.receive([row(tiny_model, token) for token in tokens[: sequence.wanted_logits()]])
    assert [call.differed for call in sequence.calculator_calls] == [True]


def test_no_digit_may_extend_a_forced_result(tiny_model: Model) -> None:
    sequence = start(tiny_model, calculator=True)
    say(sequence, tiny_model, "48/2=")
    wanted = sequence.wanted_logits()
    zero, point = (tiny_model.continuation_tokens(text)[0] for text in ("0", "."))
    logits = row(tiny_model, zero)
    logits[point] = 5.0  # the second choice
    sequence.receive([logits] * wanted)
    assert sequence.text == "48/2=24."
    sequence.receive([logits])
    assert sequence.text == "48/2=24.."  # still no digit
    sequence.receive([logits])
    assert sequence.text == "48/2=24..0"


def test_without_the_calculator_nothing_is_forced(tiny_model: Model) -> None:
    sequence = start(tiny_model)
    say(sequence, tiny_model, "16 - 3 =")
    assert sequence.text == "16 - 3 ="
    assert sequence.forced_tokens == 0


def test_a_question_cannot_end_its_own_turn(tiny_model: Model) -> None:
    control = "<|im_end|>"
    assert len(tiny_model.tokenize(control, special=True)) == 1
    plain = tiny_model.tokenize(control, special=False)
    assert not any(tiny_model.is_end(token) for token in plain)
    assert b"".join(map(tiny_model.piece, plain)) == control.encode()


ASKING = Closing("\nThe answer is \\boxed{", tokens=20)


def test_a_chain_at_its_limit_is_asked_for_its_answer(tiny_model: Model) -> None:
    chain = "He sold 9 eggs and then he sold"
    limit = len(tiny_model.tokenize(chain, special=False))
    closes = lambda text: text.endswith("}")  # noqa: E731
    sequence = start(tiny_model, max_tokens=limit, is_complete=closes, closing=ASKING)
    came = say(sequence, tiny_model, chain)
    assert sequence.finish is None
    assert sequence.text == "".join(came) == chain + ASKING.text
    asked = tiny_model.continuation_tokens(ASKING.text)
    assert sequence.pending[1:] == asked  # behind the chain's last token, to be fed together
    assert sequence.forced_tokens == len(asked)
    assert sequence.wanted_logits() == 1
    say(sequence, tiny_model, "18}")
    assert sequence.text == chain + ASKING.text + "18}"
    assert (sequence.finish, sequence.is_cut) == (Finish.LENGTH, False)


@pytest.mark.parametrize("stop", [(), ("\n",)])
def test_the_words_that_ask_end_no_half_answer(tiny_model: Model, stop: tuple[str, ...]) -> None:
    half = "The answer is 1"
    limit = len(tiny_model.tokenize(half, special=False))
    asking = Closing("\n####", tokens=20)
    is_complete = completion_test("line")
    sequence = start(
        tiny_model, max_tokens=limit, stop=stop, is_complete=is_complete, closing=asking
    )
    say(sequence, tiny_model, half)
    assert (sequence.text, sequence.finish) == (half + asking.text, None)
    say(sequence, tiny_model, " 18\n")
    assert extract_answer(sequence.text) == "18"
    assert sequence.finish is Finish.LENGTH


def test_an_asked_for_answer_without_an_end_is_cut(tiny_model: Model) -> None:
    limit = len(tiny_model.tokenize("He sold", special=False))
    sequence = start(tiny_model, max_tokens=limit, closing=ASKING)
    say(sequence, tiny_model, "He sold" + " eggs" * 30)
    assert (sequence.finish, sequence.is_cut) == (Finish.LENGTH, True)
    assert len(sequence.tokens) == limit + ASKING.tokens == sequence.request.limit_tokens


def test_a_chain_that_ends_before_its_limit_is_not_asked(tiny_model: Model) -> None:
    text = "He sold 9. done"
    limit = len(tiny_model.tokenize(text, special=False))
    done = lambda text: text.endswith("done")  # noqa: E731
    sequence = start(tiny_model, max_tokens=limit, is_complete=done, closing=ASKING)
    say(sequence, tiny_model, text)
    assert (sequence.text, sequence.finish) == (text, Finish.STOP)
    assert sequence.forced_tokens == 0


def test_a_result_never_fills_the_limit_that_a_closing_needs(tiny_model: Model) -> None:
    text = "So 123456 * 654321 ="
    limit = len(tiny_model.tokenize(text, special=False)) + 1  # no room for the result's digits
    sequence = start(tiny_model, max_tokens=limit, calculator=True, closing=ASKING)
    say(sequence, tiny_model, text)
    assert sequence.text == text
    say(sequence, tiny_model, "9")
    assert sequence.text == text + "9" + ASKING.text
    assert sequence.calculator_calls == []
