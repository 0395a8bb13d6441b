"""The engine on the real tiny base: KV safety, sharing, cancelling, overflow.

Random adapters stand in for trained ones; they change most next tokens, so KV that was made under
the wrong one shows at once.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lorid_edge.engine.engine import Engine, EngineSettings
from lorid_edge.engine.lane import Lane, LaneSettings
from lorid_edge.engine.model import BARE, AdapterKey, Model
from lorid_edge.engine.native import AbortFlag
from lorid_edge.engine.prompt_store import PromptStore
from lorid_edge.engine.sampling import SamplingSettings
from lorid_edge.engine.sequence import Finish, GenerationRequest, Sequence
from lorid_edge.errors import CancelledError, ContextOverflowError, EngineError

SETTINGS = LaneSettings(sequence_tokens=256, sequences=12, threads=2)
FIXED = "You are a careful mathematician. Here is a story problem and its solution.\n\n"
QUESTIONS = (
    "A spider has eight legs, so six spiders",
    "Half of ninety eggs is easy to find: first",
)
TOKENS = 12


def prompt_for(model: Model, question: str) -> tuple[int, ...]:
    """The fixed part and the question, tokenized apart as `RolePrompts` does it."""
    return tuple(model.tokenize(FIXED, special=True) + model.tokenize(question, special=False))


def ask(
    engine: Engine, model: Model, key: AdapterKey, question: str, seed: int = 7, copies: int = 1
) -> list[list[int]]:
    """The tokens of `copies` samples on one prompt, with seeds from `seed` on."""
    prompt = prompt_for(model, question)
    tickets = [
        engine.submit(
            GenerationRequest(
                prompt, TOKENS, seed + i, hold_tokens=len(prompt) - 1, key=key, group=1
            )
        )
        for i in range(copies)
    ]
    done = run(engine)
    engine.release(1)
    return [done[ticket].tokens for ticket in tickets]


def run(engine: Engine) -> dict[int, Sequence]:
    """Steps until nothing is left; the finished samples by ticket."""
    done = {}
    while engine.has_work:
        for progress in engine.step():
            if progress.sequence.finish is not None:
                done[progress.ticket] = progress.sequence
    return done


def make_engine(
    model: Model,
    keys: list[AdapterKey],
    low_memory: bool = False,
    store: PromptStore | None = None,
    settings: LaneSettings = SETTINGS,
) -> Engine:
    engine = Engine(model, EngineSettings(settings, low_memory=low_memory), store)
    for key in keys:
        engine.prepare(key, [tuple(model.tokenize(FIXED, special=True))])
    return engine


@pytest.fixture(scope="module")
def adapters(
    tmp_path_factory: pytest.TempPathFactory, write_adapter: Callable[[Path, int], str]
) -> dict[str, Path]:
    """Two random adapters by their SHA-256."""
    folder = tmp_path_factory.mktemp("adapters")
    paths = [folder / f"adapter{seed}.gguf" for seed in (1, 2)]
    return {write_adapter(path, seed): path for seed, path in enumerate(paths, start=1)}


@pytest.fixture(scope="module")
def adapted_model(tiny_base: Path, adapters: dict[str, Path]) -> Iterator[Model]:
    model = Model(tiny_base)
    for sha256, path in adapters.items():
        model.load_adapter(path, sha256)
    yield model
    model.close()


@pytest.fixture(scope="module")
def keys(adapters: dict[str, Path]) -> list[AdapterKey]:
    """The bare base, two adapters, and the first again at another scale."""
    first, second = adapters
    return [BARE, AdapterKey(first), AdapterKey(second), AdapterKey(first, 0.5)]


@pytest.fixture
def engine(tiny_model: Model) -> Iterator[Engine]:
    engine = make_engine(tiny_model, [BARE])
    yield engine
    engine.close()


# --- KV belongs to one adapter and scale ---------------------------------------------------------


FRESH_PROCESS = """
import json, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
import test_engine as tests
from lorid_edge.engine.model import AdapterKey, Model
base, adapters, (sha256, scale), question = json.loads(sys.argv[2])
model = Model(Path(base))
for name, path in adapters.items():
    model.load_adapter(Path(path), name)
key = AdapterKey(sha256, scale)
engine = tests.make_engine(model, [key])
print(json.dumps(tests.ask(engine, model, key, question)[0]))
"""


@pytest.fixture(scope="module")
def fresh_answers(
    tiny_base: Path, adapters: dict[str, Path], keys: list[AdapterKey]
) -> dict[tuple[AdapterKey, str], list[int]]:
    """Each answer by a process that does nothing else."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    answers = {}
    for key, question in itertools.product(keys, QUESTIONS):
        paths = {sha256: str(path) for sha256, path in adapters.items()}
        job = [str(tiny_base), paths, [key.sha256, key.scale], question]
        command = [sys.executable, "-c", FRESH_PROCESS, json.dumps(folders), json.dumps(job)]
        output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        answers[key, question] = json.loads(output)
    return answers


@pytest.mark.parametrize("low_memory", [False, True], ids=["context a role", "one context"])
def test_any_order_of_swaps_equals_a_fresh_process(
    adapted_model: Model,
    keys: list[AdapterKey],
    fresh_answers: dict[tuple[AdapterKey, str], list[int]],
    low_memory: bool,
) -> None:
    engine = make_engine(adapted_model, keys, low_memory)
    first, second, third, fourth = keys
    order = [first, second, first, third, second, fourth, second, third, third, first, fourth]
    for step, key in enumerate(order):
        question = QUESTIONS[step % 2]
        assert ask(engine, adapted_model, key, question) == [fresh_answers[key, question]]
    engine.close()


def test_adapters_and_scales_give_different_answers(
    fresh_answers: dict[tuple[AdapterKey, str], list[int]], keys: list[AdapterKey]
) -> None:
    """Else the test above could not fail. One answer of a few tokens may be the same by chance."""
    answers = {key: [fresh_answers[key, question] for question in QUESTIONS] for key in keys}
    for one, other in itertools.combinations(keys, 2):
        assert answers[one] != answers[other]


def test_a_lane_refuses_requests_of_another_adapter(
    adapted_model: Model, keys: list[AdapterKey]
) -> None:
    lane = Lane(adapted_model, SETTINGS, AbortFlag())
    lane.switch(keys[1])
    with pytest.raises(EngineError, match="lane that holds"):
        lane.submit(0, GenerationRequest((1, 2, 3), 4, seed=0, key=keys[2]))
    lane.close()


def test_a_lane_refuses_to_switch_while_samples_run(
    adapted_model: Model, keys: list[AdapterKey]
) -> None:
    lane = Lane(adapted_model, SETTINGS, AbortFlag())
    lane.submit(0, GenerationRequest((1, 2, 3), 4, seed=0, hold_tokens=2))
    lane.step()
    with pytest.raises(EngineError, match="while samples were running"):
        lane.switch(keys[1])
    lane.close()


def test_a_stored_prompt_gives_the_same_tokens(
    adapted_model: Model,
    keys: list[AdapterKey],
    fresh_answers: dict[tuple[AdapterKey, str], list[int]],
    tmp_path: Path,
) -> None:
    key, question = keys[1], QUESTIONS[0]
    for expected_files in (0, 1):
        assert len(list(tmp_path.glob("*.kv"))) == expected_files
        engine = make_engine(adapted_model, [key], store=PromptStore(tmp_path, "tiny"))
        assert ask(engine, adapted_model, key, question) == [fresh_answers[key, question]]
        engine.close()


def test_a_prompt_stored_by_a_context_of_another_width_does_no_harm(
    adapted_model: Model,
    keys: list[AdapterKey],
    fresh_answers: dict[tuple[AdapterKey, str], list[int]],
    tmp_path: Path,
) -> None:
    key, question = keys[1], QUESTIONS[0]
    store = PromptStore(tmp_path, "tiny")
    make_engine(adapted_model, [key], store=store, settings=replace(SETTINGS, sequences=3)).close()
    engine = make_engine(adapted_model, [key], store=store)
    assert ask(engine, adapted_model, key, question) == [fresh_answers[key, question]]
    engine.close()


# --- sharing, batches and determinism ------------------------------------------------------------


def test_the_shared_prompt_is_evaluated_once(engine: Engine, tiny_model: Model) -> None:
    prompt = prompt_for(tiny_model, QUESTIONS[0])
    for seed in range(4):
        engine.submit(GenerationRequest(prompt, 3, seed, hold_tokens=len(prompt) - 1, group=5))
    run(engine)
    tokens = engine.release(5)
    fixed = len(tiny_model.tokenize(FIXED, special=True))
    assert tokens.prompt == len(prompt) - 1 - fixed + 4  # the question once, the last token by each
    assert tokens.cached == fixed + 3 * (len(prompt) - 1)
    assert tokens.prompt + tokens.cached == 4 * len(prompt)


@pytest.mark.parametrize("low_memory", [False, True], ids=["context a role", "one context"])
def test_prompt_tokens_are_counted_under_all_adapters(
    adapted_model: Model, keys: list[AdapterKey], low_memory: bool
) -> None:
    engine = make_engine(adapted_model, keys, low_memory)
    prompt = prompt_for(adapted_model, QUESTIONS[0])
    fixed = len(adapted_model.tokenize(FIXED, special=True))
    for key in keys:
        engine.submit(GenerationRequest(prompt, 1, 0, hold_tokens=len(prompt) - 1, key=key))
        run(engine)
    tokens = engine.release(0)
    engine.close()
    assert tokens.cached == len(keys) * fixed
    assert tokens.prompt == len(keys) * (len(prompt) - fixed)


def test_a_sample_that_begins_with_a_fixed_prompt_takes_it_from_the_cache(
    engine: Engine, tiny_model: Model
) -> None:
    prompt = prompt_for(tiny_model, QUESTIONS[0])
    fixed = len(tiny_model.tokenize(FIXED, special=True))
    engine.submit(GenerationRequest(prompt, 1, 0, hold_tokens=fixed))
    run(engine)
    tokens = engine.release(0)
    assert (tokens.cached, tokens.prompt) == (fixed, len(prompt) - fixed)


def test_a_step_tells_for_whom_it_read_a_prompt(engine: Engine, tiny_model: Model) -> None:
    prompt = prompt_for(tiny_model, QUESTIONS[0])
    ticket = engine.submit(GenerationRequest(prompt, 2, 0, hold_tokens=len(prompt) - 1))
    assert (engine.step(), engine.reading) == ([], ticket)
    assert [progress.ticket for progress in engine.step()] == [ticket]
    assert engine.reading is None


def test_a_second_problem_reuses_the_fixed_part_only(engine: Engine, tiny_model: Model) -> None:
    fixed = len(tiny_model.tokenize(FIXED, special=True))
    for group, question in enumerate(QUESTIONS):
        prompt = prompt_for(tiny_model, question)
        engine.submit(GenerationRequest(prompt, 2, 0, hold_tokens=len(prompt) - 1, group=group))
        run(engine)
        assert engine.release(group).prompt == len(prompt) - fixed


def test_samples_of_one_prompt_differ_by_seed_and_repeat(engine: Engine, tiny_model: Model) -> None:
    first = ask(engine, tiny_model, BARE, QUESTIONS[0], copies=4)
    assert len({tuple(tokens) for tokens in first}) > 1
    assert ask(engine, tiny_model, BARE, QUESTIONS[0], copies=4) == first


def test_lanes_take_turns_in_the_same_order_whatever_ran_before(
    adapted_model: Model, keys: list[AdapterKey]
) -> None:
    """Which lane is a step ahead decides what a verdict still cancels, and so the solution."""
    engine = make_engine(adapted_model, keys[:3])
    prompt = prompt_for(adapted_model, QUESTIONS[0])

    def order() -> list[tuple[int, int]]:
        tickets = [
            engine.submit(GenerationRequest(prompt, 3, 0, hold_tokens=len(prompt) - 1, key=key))
            for key in keys[:3]
        ]
        steps = []
        while engine.has_work:
            steps += [(tickets.index(p.ticket), len(p.sequence.tokens)) for p in engine.step()]
        engine.release(0)
        return steps

    orders = []
    for tokens_before in range(3):
        orders.append(order())
        for _ in range(tokens_before):
            engine.submit(GenerationRequest(prompt, 1, 0, hold_tokens=len(prompt) - 1))
            run(engine)
            engine.release(0)
    engine.close()
    assert orders[0] == orders[1] == orders[2]


def test_a_sample_does_not_depend_on_its_neighbours(engine: Engine, tiny_model: Model) -> None:
    """Greedy and counting, so that floating-point noise of another batch shape cannot decide."""
    prompt = tuple(tiny_model.tokenize("21, 22, 23, 24, 25, 26, 27, 28,", special=True))

    def request(limit: int, group: int, settings: SamplingSettings) -> GenerationRequest:
        return GenerationRequest(
            prompt, limit, group, hold_tokens=len(prompt) - 1, group=group, sampling=settings
        )

    greedy = SamplingSettings(temperature=0)
    alone = engine.submit(request(10, 1, greedy))
    expected = run(engine)[alone]
    assert " 29, 30" in expected.text
    engine.release(1)
    ticket = engine.submit(request(10, 1, greedy))
    for limit in (2, 5, 8):  # neighbours that leave the batch early
        engine.submit(request(limit, 2, SamplingSettings(temperature=1.5)))
    assert run(engine)[ticket].tokens == expected.tokens


def test_what_the_calculator_corrected_does_not_depend_on_company(
    engine: Engine, tiny_model: Model
) -> None:
    """A sample that is alone is fed a forced result at once, one of many token by token."""
    factors = [(17, 25), (31, 46), (58, 13), (44, 37), (29, 62), (15, 78)]
    page = "Products:" + "".join(f"\n{a} * {b} = {a * b}" for a, b in factors)
    prompt = tuple(tiny_model.tokenize(page, special=False))

    def request(group: int, temperature: float) -> GenerationRequest:
        sampling = SamplingSettings(temperature=temperature)
        return GenerationRequest(prompt, 30, group, group=group, sampling=sampling, calculator=True)

    alone = engine.submit(request(0, 0))
    expected = run(engine)[alone]
    assert any(call.differed for call in expected.calculator_calls)
    assert expected.forced_tokens > 2 * len(expected.calculator_calls)
    ticket = engine.submit(request(0, 0))
    for group in (1, 2, 3):
        engine.submit(request(group, 1.5))
    found = run(engine)[ticket]
    assert found.calculator_calls == expected.calculator_calls
    assert found.tokens == expected.tokens


def test_requests_beyond_the_free_sequences_wait_their_turn(
    engine: Engine, tiny_model: Model
) -> None:
    prompt = tuple(tiny_model.tokenize("One, two,", special=True))
    tickets = [
        engine.submit(GenerationRequest(prompt, 3, seed, hold_tokens=len(prompt) - 1))
        for seed in range(3 * SETTINGS.sequences)
    ]
    done = run(engine)
    assert sorted(done) == tickets
    assert all(done[ticket].tokens for ticket in tickets)


def test_the_calculator_works_in_every_sample_of_a_batch(engine: Engine, tiny_model: Model) -> None:
    """A page of sums to go on with: whatever sums the samples write, their results are right."""
    sums = [(17, 25), (31, 46), (58, 13), (44, 37), (29, 62), (15, 78)]
    page = "Sums:" + "".join(f"\n{a} + {b} = {a + b}" for a, b in sums)
    prompt = tuple(tiny_model.tokenize(page, special=False))
    cool = SamplingSettings(temperature=0.3)
    for seed in range(16):
        engine.submit(
            GenerationRequest(
                prompt, 48, seed, hold_tokens=len(prompt) - 1, sampling=cool, calculator=True
            )
        )
    done = run(engine).values()
    assert sum(bool(sequence.calculator_calls) for sequence in done) >= 4
    for sequence in done:
        for first, second, result in re.findall(r"(\d+) \+ (\d+) = (\d+)\n", sequence.text):
            assert int(first) + int(second) == int(result)


# --- ends -----------------------------------------------------------------------------------------


def test_a_cancelled_sample_keeps_what_it_had_and_the_others_go_on(
    engine: Engine, tiny_model: Model
) -> None:
    prompt = prompt_for(tiny_model, QUESTIONS[0])
    first, second = (
        engine.submit(GenerationRequest(prompt, 8, seed, hold_tokens=len(prompt) - 1))
        for seed in (1, 2)
    )
    while not any(progress.ticket == first for progress in engine.step()):
        pass
    stopped = engine.cancel(first)
    assert stopped is not None
    assert stopped.finish is Finish.CANCELLED
    assert len(stopped.tokens) == 1
    assert set(run(engine)) == {second}


@pytest.mark.parametrize("low_memory", [False, True], ids=["context a role", "one context"])
def test_a_prompt_too_long_is_refused_before_anything_runs(
    adapted_model: Model, keys: list[AdapterKey], low_memory: bool
) -> None:
    """For an adapter that is not in force as well: later it would take all others with it."""
    engine = make_engine(adapted_model, keys, low_memory)
    most = SETTINGS.sequence_tokens
    for key in keys:
        with pytest.raises(ContextOverflowError, match="does not fit"):
            engine.submit(GenerationRequest((1,) * most, 1, seed=0, key=key))
    assert not engine.has_work
    engine.close()


def test_a_switch_that_fails_drops_all_requests(
    adapted_model: Model, keys: list[AdapterKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(adapted_model, keys, low_memory=True)
    engine.submit(GenerationRequest((1, 2, 3), 2, seed=0, key=keys[1]))

    def fail(*_: object) -> None:
        raise EngineError("No memory.")

    monkeypatch.setattr(adapted_model, "apply_adapter", fail)
    with pytest.raises(EngineError, match="No memory"):
        engine.step()
    assert not engine.has_work
    engine.close()


def test_abort_from_another_thread_stops_a_long_prompt(tiny_model: Model) -> None:
    """The prompt would take many decodes; after the abort the engine is as good as new."""
    settings = LaneSettings(sequence_tokens=8192, sequences=2, threads=2)
    engine = Engine(tiny_model, EngineSettings(settings))
    engine.prepare(BARE, [tuple(tiny_model.tokenize(FIXED, special=True))])
    before = ask(engine, tiny_model, BARE, QUESTIONS[0])
    prompt = tuple(tiny_model.tokenize("word " * 7000, special=False))[:7000]
    engine.submit(GenerationRequest(prompt, 4, seed=0, hold_tokens=len(prompt) - 1, group=2))
    engine.step()
    threading.Timer(0.05, engine.abort).start()
    with pytest.raises(CancelledError):
        run(engine)
    assert not engine.has_work
    assert ask(engine, tiny_model, BARE, QUESTIONS[0]) == before
    engine.close()


def test_an_abort_inside_one_decode_is_not_waited_out(tiny_model: Model) -> None:
    """The flag is set while llama.cpp computes; llama_decode itself returns early."""
    settings = LaneSettings(sequence_tokens=2048, sequences=2, threads=1)
    engine = Engine(tiny_model, EngineSettings(settings))
    engine.prepare(BARE, [])
    engine.submit(GenerationRequest((5,) * 513, 1, seed=0, hold_tokens=512))
    began = threading.Event()
    finished: list[bool] = []

    def work() -> None:
        began.set()
        try:
            engine.step()
            finished.append(True)
        except CancelledError:
            finished.append(False)

    worker = threading.Thread(target=work)
    worker.start()
    began.wait()
    engine.abort()
    worker.join()
    assert finished == [False]
    engine.close()
