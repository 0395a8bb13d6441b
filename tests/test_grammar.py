"""A grammar holds what the tiny base writes, whatever it would rather write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from lorid_edge.distill.knowledge import GRAMMAR
from lorid_edge.engine.engine import Engine, EngineSettings
from lorid_edge.engine.lane import LaneSettings
from lorid_edge.engine.model import BARE, Model
from lorid_edge.engine.sampling import Grammar, SamplingSettings
from lorid_edge.engine.sequence import Finish, GenerationRequest, Sequence
from lorid_edge.errors import EngineError, UsageError

DIGITS = 'root ::= "<" [0-9]+ ">"'


@pytest.fixture
def engine(tiny_model: Model) -> Iterator[Engine]:
    engine = Engine(
        tiny_model, EngineSettings(LaneSettings(sequence_tokens=512, sequences=6, threads=2))
    )
    engine.prepare(BARE, [])
    yield engine
    engine.close()


def write(engine: Engine, grammar: str, temperature: float, copies: int = 1) -> list[Sequence]:
    prompt = tuple(engine.model.tokenize("My favourite colours are", special=True))
    sampling = SamplingSettings(temperature=temperature)
    for seed in range(copies):
        engine.submit(GenerationRequest(prompt, 60, seed, sampling=sampling, grammar=grammar))
    done = []
    while engine.has_work:
        done += [p.sequence for p in engine.step() if p.sequence.finish is not None]
    return done


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_the_text_follows_the_grammar(engine: Engine, temperature: float) -> None:
    for sequence in write(engine, DIGITS, temperature, copies=3):
        complete = sequence.finish is Finish.END
        assert re.fullmatch(r"<\d+>" if complete else r"<\d*>?", sequence.text), sequence.text


def test_a_sample_ends_where_the_grammar_does(engine: Engine) -> None:
    (sequence,) = write(engine, 'root ::= "yes" | "no"', temperature=1.0)
    assert sequence.finish is Finish.END
    assert sequence.text in ("yes", "no")


def test_a_teacher_can_write_nothing_but_a_list_of_rules(engine: Engine) -> None:
    for sequence in write(engine, GRAMMAR, temperature=0.7, copies=4):
        if sequence.finish is Finish.END:
            rules = json.loads(sequence.text)
            assert 1 <= len(rules) <= 8
        else:
            assert sequence.text.startswith('["')


def test_a_grammar_that_cannot_be_read_is_refused(tiny_model: Model) -> None:
    with pytest.raises(EngineError, match="cannot read this grammar"):
        Grammar(tiny_model.vocabulary, "root ::= (")


def test_grammar_and_calculator_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="grammar"):
        GenerationRequest((1,), 8, 0, calculator=True, grammar=DIGITS)
