"""`lorid-edge distill knowledge` as a run: checks, other seeds, problems set aside, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lorid_edge.data.datasets import load_dataset
from lorid_edge.data.record import Record
from lorid_edge.distill.journal import companion_of
from lorid_edge.distill.knowledge_run import KnowledgeJob, KnowledgeReport, knowledge_steps
from lorid_edge.distill.teacher import Ask, Reply
from lorid_edge.errors import DataError, LoridError, UsageError
from lorid_edge.packs.store import PackStore

GOOD = '["Add the parts to find the whole."]'


class Scripted:
    """A teacher that says what it is told to: the one seam that is not real here."""

    name = "scripted"
    capacity = 2

    def __init__(self, say: Callable[[Ask], str]) -> None:
        self.say = say
        self.asks: list[Ask] = []
        self._pending: list[Ask] = []

    def submit(self, ask: Ask) -> None:
        self.asks.append(ask)
        self._pending.append(ask)
        assert len(self._pending) <= self.capacity

    def next_replies(self) -> list[Reply]:
        ask = self._pending.pop()
        if ask.question.startswith("Long"):
            return [Reply(ask.key, "", 0, 0, refusal="too long for the teacher")]
        return [Reply(ask.key, self.say(ask), 10, 5)]

    def abort(self) -> None: ...

    def close(self) -> None: ...


def records(count: int) -> list[Record]:
    return [
        Record(
            id=f"r{n}",
            question=f"Ann has {n} apples and Ann buys {n + 50}. How many?",
            rationale=f"{n}+{n + 50}=<<{n}+{n + 50}={2 * n + 50}>>{2 * n + 50}",
            answer=str(2 * n + 50),
        )
        for n in range(1, count + 1)
    ]


def run(
    say: Callable[[Ask], str], given: Sequence[Record], folder: Path, **more: Any
) -> tuple[KnowledgeReport, Scripted]:
    teacher = Scripted(say)
    job = KnowledgeJob(given, folder / "rules.jsonl", **more)
    reports = list(knowledge_steps(job, teacher, PackStore(folder / "home")))
    return reports[-1], teacher


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_knowledge_becomes_a_data_set(tmp_path: Path) -> None:
    report, teacher = run(lambda _: GOOD, records(5), tmp_path)
    assert (report.problems, report.kept, report.done, report.replies) == (5, 5, 5, 5)
    assert (report.prompt_tokens, report.generated_tokens) == (50, 25)
    assert "<<" not in teacher.asks[0].rationale
    made = load_dataset(tmp_path / "rules.jsonl").records
    assert sorted(made, key=lambda record: record.id) == [
        record.model_copy(update={"knowledge": ("Add the parts to find the whole.",)})
        for record in records(5)
    ]
    assert {(line["teacher"], line["attempts"]) for line in lines(tmp_path / "rules.jsonl")} == {
        ("scripted", 1)
    }
    assert not companion_of(tmp_path / "rules.jsonl").exists()
    again, teacher = run(lambda _: GOOD, records(7), tmp_path)
    assert (again.kept, again.replies) == (7, 2)
    assert {ask.key for ask in teacher.asks} == {"r6", "r7"}


def test_what_fails_is_asked_again_with_another_seed_then_set_aside(tmp_path: Path) -> None:
    bad = {
        "r1": '["Add 51 to it."]',
        "r2": "I will not.",
        "r3": '["Count what Ann has."]',
        "r4": '["The sum is 58."]',
    }
    seen: list[Ask] = []

    def say(ask: Ask) -> str:
        seen.append(ask)
        if ask.key == "r5":  # the second try is good
            return GOOD if sum(other.key == "r5" for other in seen) > 1 else "?"
        return bad.get(ask.key, GOOD)

    report, _ = run(say, records(6), tmp_path, attempts=3)
    assert report.kept == 2
    assert report.set_aside.total() == 4
    for key in bad:
        seeds = [ask.seed for ask in seen if ask.key == key]
        assert len(seeds) == len(set(seeds)) == 3
    attempts = {line["id"]: line["attempts"] for line in lines(tmp_path / "rules.jsonl")}
    assert attempts == {"r5": 2, "r6": 1}
    aside = {line["id"]: line for line in lines(companion_of(tmp_path / "rules.jsonl"))}
    assert set(aside) == set(bad)
    assert "number" in aside["r1"]["reason"]
    assert "name" in aside["r3"]["reason"]
    assert "answer" in aside["r4"]["reason"]
    assert len(aside["r2"]["reasons"]) == 3
    assert report.rejected.total() == 13
    json.dumps(report.to_dict())

    again, teacher = run(say, records(6), tmp_path, attempts=3)
    assert (again.kept, again.set_aside, teacher.asks) == (2, report.set_aside, [])
    other, teacher = run(lambda _: GOOD, records(6), tmp_path, attempts=3, seed=1)
    assert {ask.key for ask in teacher.asks} == set(bad)  # another seed tries them again
    assert (other.kept, other.set_aside.total()) == (6, 0)


def test_a_teacher_that_talks_rubbish_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(LoridError, match=r"last 4 problems can be used: not a JSON list") as caught:
        run(lambda _: "Rubbish.", records(9), tmp_path, attempts=2, useless_limit=4)
    assert "0 problems with knowledge are kept" in str(caught.value)
    report, teacher = run(lambda _: GOOD, records(9), tmp_path)
    assert report.kept == 9  # nothing was counted as done
    assert len(teacher.asks) == 9


def test_a_teacher_that_breaks_down_loses_nothing(tmp_path: Path) -> None:
    calls = 0

    def say(_: Ask) -> str:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise LoridError("the teacher is gone")
        return GOOD

    with pytest.raises(LoridError, match="gone"):
        run(say, records(6), tmp_path)
    assert len(lines(tmp_path / "rules.jsonl")) == 3
    report, teacher = run(lambda _: GOOD, records(6), tmp_path)
    assert (report.kept, len(teacher.asks)) == (6, 3)


def test_a_problem_that_the_teacher_cannot_take_is_asked_once(tmp_path: Path) -> None:
    long = records(1)[0].model_copy(update={"id": "long", "question": "Long story. How many?"})
    report, teacher = run(lambda _: GOOD, [long, *records(2)], tmp_path, attempts=3)
    assert (report.kept, dict(report.set_aside)) == (2, {"too long for the teacher": 1})
    assert [ask.key for ask in teacher.asks].count("long") == 1
    many = [long.model_copy(update={"id": f"long{number}"}) for number in range(9)]
    report, _ = run(lambda _: GOOD, many, tmp_path / "many", useless_limit=4)
    assert report.set_aside.total() == 9  # that is no fault of the teacher's


def test_other_problems_of_the_same_ids_are_not_done(tmp_path: Path) -> None:
    given = records(3)
    run(lambda ask: "?" if ask.key == "r1" else GOOD, given, tmp_path, attempts=1)
    kept = (tmp_path / "rules.jsonl").read_bytes()
    mended = given[0].model_copy(update={"rationale": "It is 3 + 4 = 7."})
    other = given[2].model_copy(update={"question": "What is 3+4?"})
    with pytest.raises(UsageError, match="holds results of other data"):
        run(lambda _: GOOD, [*given[:2], other], tmp_path)
    assert (tmp_path / "rules.jsonl").read_bytes() == kept
    report, teacher = run(lambda _: GOOD, [mended, *given[1:]], tmp_path, attempts=1)
    assert [ask.key for ask in teacher.asks] == ["r1"]  # it was set aside with another rationale
    assert (report.kept, report.set_aside.total()) == (3, 0)


def test_problems_without_rationales_are_left_out(tmp_path: Path) -> None:
    bare = Record(id="bare", question="What?", answer="1")
    report, _ = run(lambda _: GOOD, [bare, *records(1)], tmp_path)
    assert (report.problems, report.kept) == (1, 1)
    with pytest.raises(DataError, match="no problem has a rationale"):
        run(lambda _: GOOD, [bare], tmp_path)
