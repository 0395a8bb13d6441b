"""The loop from question to solution, on the real tiny base."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lorid_edge import Solver
from lorid_edge.engine.lane import Progress
from lorid_edge.engine.sequence import Finish
from lorid_edge.errors import (
    AdapterError,
    CancelledError,
    ContextOverflowError,
    LoridError,
    MemoryShortageError,
    PackError,
    UsageError,
)
from lorid_edge.loading import LoadSettings
from lorid_edge.loop.answer_marks import CLOSING_TOKENS
from lorid_edge.loop.events import Event, RoleStarted, SampleFinished, Solved, TextAdded
from lorid_edge.loop.evidence import Tally, vote_weight
from lorid_edge.loop.solution import Solution, Status
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role
from lorid_edge.solver import SolveSettings

QUESTION = "Tom has 3 boxes of 12 pencils and gives away 5. How many pencils are left?"


@pytest.fixture(scope="module")
def store(tiny_home: Path) -> PackStore:
    return PackStore(tiny_home)


@pytest.fixture(scope="module")
def solver(store: PackStore, brief_pack: Path) -> Iterator[Solver]:
    with Solver.open(brief_pack, settings=LoadSettings(width=2), store=store) as solver:
        yield solver


@pytest.fixture(scope="module")
def adapted_solver(
    store: PackStore,
    brief_pack: Path,
    write_adapter: Callable[[Path, int], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Solver]:
    """Each role has an adapter, and so a lane of its own."""
    folder = tmp_path_factory.mktemp("adapted")
    adapters = {
        role: (f"{role.value}.gguf", write_adapter(folder / f"{role.value}.gguf", seed))
        for seed, role in enumerate(Role)
    }
    write_pack(folder, brief_pack, adapters)
    with Solver.open(folder, settings=LoadSettings(width=2), store=store) as solver:
        yield solver


def without_times(solution: Solution) -> dict[str, object]:
    return json.loads(solution.model_copy(update={"seconds": None}).to_json())


def write_pack(folder: Path, brief_pack: Path, adapters: dict[Role, tuple[str, str]]) -> Path:
    """The brief pack with an adapter (file, SHA-256) for some roles."""
    text = (brief_pack / "pack.toml").read_text()
    for role, (file, sha256) in adapters.items():
        text += f'\n[roles.{role.value}.adapter]\nfile = "{file}"\nsha256 = "{sha256}"\n'
    folder.mkdir(exist_ok=True)
    (folder / "pack.toml").write_text(text)
    return folder


# --- events and solutions -------------------------------------------------------------------------


def test_the_events_tell_the_whole_story(solver: Solver) -> None:
    events = list(solver.stream(QUESTION, settings=SolveSettings("paper", max_rounds=2), seed=3))
    *_, last = events
    assert isinstance(last, Solved)
    solution = last.solution
    finished = [event.sample for event in events if isinstance(event, SampleFinished)]
    assert list(solution.samples) == finished
    texts: dict[tuple[Role, int], str] = {}
    for event in events:
        if isinstance(event, TextAdded):
            texts[event.role, event.index] = texts.get((event.role, event.index), "") + event.text
    for sample in finished:
        assert texts.get((sample.role, sample.index), "") == sample.text
    started = [(e.role, e.index) for e in events if isinstance(e, RoleStarted)]
    assert len(started) == len(set(started))
    assert {(s.role, s.index) for s in finished} <= set(started)
    assert solution.tokens.generated == sum(sample.tokens for sample in finished)


def test_deep_reasoning_follows_the_knowledge_of_its_index(solver: Solver) -> None:
    order = [
        (event.sample.role, event.sample.index)
        for event in solver.stream(QUESTION, settings=SolveSettings("paper", max_rounds=1))
        if isinstance(event, SampleFinished)
    ]
    for index in (0, 1):
        if (Role.DEEP_REASONER, index) in order:
            knowledge = order.index((Role.KNOWLEDGE_GENERATOR, index))
            assert knowledge < order.index((Role.DEEP_REASONER, index))


@pytest.mark.parametrize(
    ("policy", "lanes"),
    [
        *((policy, "solver") for policy in ("ir", "dr", "paper", "vote", "adaptive")),
        ("paper", "adapted_solver"),
    ],
)
def test_every_policy_gives_a_valid_solution_and_the_same_again(
    request: pytest.FixtureRequest, policy: str, lanes: str
) -> None:
    solver: Solver = request.getfixturevalue(lanes)
    settings = SolveSettings(policy, max_rounds=2, seed=5)
    first, second = (solver.solve(QUESTION, settings=settings) for _ in range(2))
    assert without_times(first) == without_times(second)
    assert first == Solution.model_validate_json(first.to_json())
    assert first.policy == policy
    assert 0 <= first.confidence <= 1
    assert (first.status is Status.UNDECIDED) or first.answer is not None
    assert first.rounds <= 2


def test_the_json_has_what_the_contract_names(solver: Solver) -> None:
    document = json.loads(solver.solve(QUESTION, settings=SolveSettings("dr")).to_json())
    named = "schema question answer status confidence policy pack seed rounds samples tokens"
    assert {*named.split(), "seconds"} <= document.keys()
    assert document["schema"] == 1
    assert {"role", "round", "text", "answer", "tokens", "finish"} <= document["samples"][0].keys()
    assert {"prompt", "cached", "generated", "forced"} <= document["tokens"].keys()
    assert {"total", "load", "first_token", "deep_reasoner"} <= document["seconds"].keys()


def test_the_confidence_follows_from_the_certainty_of_the_samples(
    store: PackStore, brief_pack: Path, tmp_path: Path
) -> None:
    text = (brief_pack / "pack.toml").read_text("utf-8")
    text = text.replace(
        "[roles.intuitive_reasoner]", "[roles.intuitive_reasoner]\nentropy_nats = 0.9"
    )
    (tmp_path / "pack.toml").write_text(f"{text}\n[confidence]\ndoubt = 0.5\n", "utf-8")
    settings = SolveSettings("vote", max_rounds=6)
    with Solver.open(tmp_path, settings=LoadSettings(width=2), store=store) as surer:
        solutions = [surer.solve(QUESTION, settings=settings, seed=seed) for seed in range(4)]
    answered = 0
    for solution in solutions:
        tally = Tally(doubt=0.5)
        for sample in solution.samples:
            assert sample.entropy_nats is not None
            weight = vote_weight(sample.entropy_nats, 0.9)
            tally.add(sample.role, sample.answer if sample.is_vote else None, weight)
        ranked = tally.ranked()
        expected = tally.confidence(ranked[0][0]) if ranked else 0.0
        answered += bool(ranked)
        assert solution.confidence == pytest.approx(expected, rel=1e-3)
    assert answered > 0


def test_every_decode_is_time_of_a_role(solver: Solver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that only read a prompt too. The clock here goes on by one with each look at it."""
    engine = solver.loaded.workplace.engine
    decode = engine.step
    decodes = 0

    def step() -> list[Progress]:
        nonlocal decodes
        decodes += 1
        return decode()

    monkeypatch.setattr(engine, "step", step)
    clock = SimpleNamespace(perf_counter=itertools.count().__next__)
    monkeypatch.setattr("lorid_edge.solver.time", clock)
    seconds = solver.solve(QUESTION, settings=SolveSettings("dr", max_rounds=1)).seconds
    assert seconds.knowledge_generator + seconds.deep_reasoner == decodes


def test_another_seed_gives_other_samples(solver: Solver) -> None:
    settings = SolveSettings("vote", max_rounds=1)
    texts = {
        tuple(s.text for s in solver.solve(QUESTION, settings=settings, seed=seed).samples)
        for seed in range(4)
    }
    assert len(texts) > 1


def test_pending_samples_stop_with_the_verdict(solver: Solver) -> None:
    """`ir` needs one answer; with `vote` the rest stops once the outcome is certain."""
    for seed in range(6):
        solution = solver.solve(QUESTION, settings=SolveSettings("paper", seed=seed))
        cancelled = [s for s in solution.samples if s.finish == Finish.CANCELLED.value]
        assert all(sample.answer is None for sample in cancelled)
        if cancelled:
            assert solution.status is Status.AGREED
            return
    pytest.fail("no run had anything to stop")


def test_time_limit_gives_the_best_answer_so_far(solver: Solver) -> None:
    settings = SolveSettings("paper", max_rounds=20, max_seconds=1e-6)
    solution = solver.solve(QUESTION, settings=settings)
    assert solution.status is Status.UNDECIDED
    assert solution.rounds == 1


def test_problems_solved_together_are_not_mixed_up(store: PackStore, brief_pack: Path) -> None:
    questions = [f"What is {n} + {n}?" for n in range(3, 9)]
    settings = LoadSettings(width=1, in_flight=4)
    with Solver.open(brief_pack, settings=settings, store=store) as solver:
        solutions = dict(solver.solve_many(questions, settings=SolveSettings("ir")))
    assert sorted(solutions) == list(range(len(questions)))
    assert [solutions[i].question for i in sorted(solutions)] == questions
    assert all(len(solution.samples) == 1 for solution in solutions.values())


def test_each_of_many_problems_may_have_its_own_seed(solver: Solver) -> None:
    question, settings = "What is 17 + 25?", SolveSettings("ir")
    solutions = dict(solver.solve_many([question] * 3, settings=settings, seeds=[5, 6, 5]))
    assert [solutions[i].seed for i in range(3)] == [5, 6, 5]
    alone = solver.solve(question, settings=settings, seed=5)
    for position in (0, 2):
        assert solutions[position].samples == alone.samples
    with pytest.raises(UsageError, match="2 seeds for 1 questions"):
        solver.solve_many([question], seeds=[1, 2])


def test_the_second_problem_takes_the_fixed_prompts_from_the_cache(solver: Solver) -> None:
    solution = solver.solve("What is 2 + 2?", settings=SolveSettings("dr"))
    assert solution.tokens.cached > solution.tokens.prompt


# --- adapters -------------------------------------------------------------------------------------


def test_adapters_of_roles_work_in_both_memory_modes(
    tmp_path: Path,
    store: PackStore,
    brief_pack: Path,
    write_adapter: Callable[[Path, int], str],
) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    adapters = {
        role: (f"{role.value}.gguf", write_adapter(folder / f"{role.value}.gguf", seed))
        for seed, role in enumerate(Role)
    }
    write_pack(folder, brief_pack, adapters)
    solutions = []
    for low_memory in (False, True):
        settings = LoadSettings(width=1, low_memory=low_memory)
        with Solver.open(folder, settings=settings, store=store) as solver:
            settings_of_run = SolveSettings("paper", max_rounds=2)
            solutions.append(solver.solve(QUESTION, settings=settings_of_run))
    by_sample = [{(s.role, s.index): s.text for s in sol.samples} for sol in solutions]
    shared = by_sample[0].keys() & by_sample[1].keys()
    assert {role for role, _ in shared} == set(Role)
    assert all(by_sample[0][sample] == by_sample[1][sample] for sample in shared)


def test_an_adapter_of_another_architecture_is_refused_before_loading(
    tmp_path: Path, store: PackStore, brief_pack: Path
) -> None:
    import hashlib

    import gguf

    folder = tmp_path / "pack"
    folder.mkdir()
    path = folder / "other.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    write_pack(folder, brief_pack, {Role.DEEP_REASONER: (path.name, sha256)})
    with pytest.raises(AdapterError, match="qwen2"):
        Solver.open(folder, store=store)


def test_an_adapter_with_another_hash_is_refused(
    tmp_path: Path, store: PackStore, brief_pack: Path, write_adapter: Callable[[Path, int], str]
) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    write_adapter(folder / "a.gguf", 1)
    write_pack(folder, brief_pack, {Role.DEEP_REASONER: ("a.gguf", "0" * 64)})
    with pytest.raises(LoridError, match=r"a\.gguf"):
        Solver.open(folder, store=store)


def terse_solver(store: PackStore, brief_pack: Path, folder: Path) -> Solver:
    """Its chains are at their limit after three tokens."""
    text = (brief_pack / "pack.toml").read_text().replace("max_tokens = 24", "max_tokens = 3")
    (folder / "pack.toml").write_text(text)
    return Solver.open(folder, store=store)


def test_a_chain_at_its_limit_still_answers(
    store: PackStore, brief_pack: Path, tmp_path: Path
) -> None:
    with terse_solver(store, brief_pack, tmp_path) as terse:
        solution = terse.solve("What is 7 + 5?", settings=SolveSettings("ir"), seed=1)
        deep = terse.solve("What is 7 + 5?", settings=SolveSettings("dr"), seed=1)
    (sample,) = solution.samples
    assert "\nThe answer is \\boxed{" in sample.text
    assert sample.finish == "length"
    assert solution.answer == sample.answer is not None
    assert (solution.status, solution.confidence) == (Status.UNDECIDED, 0)
    assert 3 < sample.tokens <= 3 + CLOSING_TOKENS
    assert solution.tokens.forced > 0
    knowledge, reasoning = deep.samples
    assert knowledge.tokens <= 12
    assert "boxed" not in knowledge.text  # rules are not asked for an answer
    assert "\nThe answer is \\boxed{" in reasoning.text


def test_where_the_context_has_no_room_left_a_chain_at_its_limit_just_ends(
    store: PackStore, brief_pack: Path, tmp_path: Path
) -> None:
    with terse_solver(store, brief_pack, tmp_path) as terse:
        fits = next(n for n in range(1, 400) if not fits_in(terse, "how many " * n)) - 1
        solution = terse.solve("how many " * fits, settings=SolveSettings("ir"), seed=1)
    (sample,) = solution.samples
    assert (sample.finish, sample.tokens, solution.answer) == ("length", 3, None)


def fits_in(solver: Solver, question: str) -> bool:
    try:
        solver.check(question)
    except ContextOverflowError:
        return False
    return True


# --- bad input, threads, the end ------------------------------------------------------------------


@pytest.mark.parametrize("question", ["", "  \n "])
def test_an_empty_question_is_an_error(solver: Solver, question: str) -> None:
    with pytest.raises(UsageError, match="empty"):
        solver.solve(question)


def test_a_question_too_long_is_an_error_before_anything_is_generated(solver: Solver) -> None:
    events: list[Event] = []
    with pytest.raises(ContextOverflowError, match="too long"):
        events.extend(solver.stream("how many " * 12_000))
    assert events == []
    assert solver.solve("What is 2 + 2?", settings=SolveSettings("ir")).samples


@pytest.mark.parametrize(
    "broken",
    [
        lambda: LoadSettings(width=0),
        lambda: LoadSettings(in_flight=0),
        lambda: LoadSettings(threads=0),
        lambda: LoadSettings(sequence_tokens=1),
        lambda: SolveSettings("fast"),
        lambda: SolveSettings(max_rounds=0),
        lambda: SolveSettings(max_seconds=0),
        lambda: SolveSettings(max_seconds=float("nan")),
    ],
)
def test_impossible_settings_are_refused_at_once(broken: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        broken()


def test_an_unknown_pack_names_the_known_ones(store: PackStore) -> None:
    with pytest.raises(PackError, match="standard"):
        Solver.open("enormous", store=store)


def test_too_little_memory_is_said_before_loading(
    store: PackStore, brief_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorid_edge.loading.available_bytes", lambda: 100_000_000)
    with pytest.raises(MemoryShortageError, match="100 MB are free"):
        Solver.open(brief_pack, store=store)


def test_cancel_from_another_thread(solver: Solver) -> None:
    settings = SolveSettings("paper", max_rounds=20)
    stream = solver.stream(QUESTION, settings=settings)
    next(stream)
    canceller = threading.Thread(target=solver.cancel)
    canceller.start()
    canceller.join()
    with pytest.raises(CancelledError):
        list(stream)
    assert solver.solve("What is 2 + 2?", settings=SolveSettings("ir")).samples


def test_a_stream_closed_early_frees_the_solver(solver: Solver) -> None:
    stream = solver.stream(QUESTION, settings=SolveSettings("paper"))
    next(stream)
    stream.close()
    assert solver.solve("What is 2 + 2?", settings=SolveSettings("ir")).samples


def test_a_second_request_inside_a_stream_is_an_error_not_a_deadlock(solver: Solver) -> None:
    stream = solver.stream(QUESTION, settings=SolveSettings("ir"))
    next(stream)
    with pytest.raises(LoridError, match="unfinished stream"):
        solver.solve(QUESTION)
    stream.close()


def test_requests_of_several_threads_queue(solver: Solver) -> None:
    questions = [f"What is {n} * 2?" for n in range(3)]
    expected = [solver.solve(q, settings=SolveSettings("ir")).samples for q in questions]
    results: dict[str, object] = {}

    def work(question: str) -> None:
        results[question] = solver.solve(question, settings=SolveSettings("ir")).samples

    threads = [threading.Thread(target=work, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [results[question] for question in questions] == expected


def test_astream_gives_the_same_events(solver: Solver) -> None:
    async def collect() -> list[Event]:
        return [event async for event in solver.astream(QUESTION, settings=SolveSettings("dr"))]

    events = asyncio.run(collect())
    expected = list(solver.stream(QUESTION, settings=SolveSettings("dr")))
    assert events[:-1] == expected[:-1]
    assert isinstance(events[-1], Solved)


def test_a_closed_solver_says_so(store: PackStore, brief_pack: Path) -> None:
    solver = Solver.open(brief_pack, store=store)
    solver.close()
    solver.close()
    with pytest.raises(LoridError, match="closed"):
        solver.solve(QUESTION)


def test_a_solver_closes_with_a_stream_left_unfinished(store: PackStore, brief_pack: Path) -> None:
    with Solver.open(brief_pack, store=store) as solver:
        stream = solver.stream(QUESTION)
        next(stream)
    assert list(stream) == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    program = (
        "import sys, lorid_edge\n"
        "heavy = {'torch', 'transformers', 'peft', 'llama_cpp', 'numpy', 'sympy', 'rich',\n"
        "         'fastapi', 'uvicorn', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    ).stdout
    assert output.strip() == "[]"
