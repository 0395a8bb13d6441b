"""Reading problem files, and journals that survive kills."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorid_edge.errors import LoridError, UsageError
from lorid_edge.loop.solution import Seconds, Settings, Solution, Status, TokenCounts
from lorid_edge.problems import (
    BrokenLine,
    FileProblem,
    RunSettings,
    check_question,
    fingerprint,
    open_journal,
    pack_fingerprint,
    read_problems,
)

SETTINGS = Settings(width=4, max_rounds=2, max_seconds=None, calculator=True)
RUN = RunSettings("tiny", "ir", 0, SETTINGS)


def solution(line: int, question: str, **changes: Any) -> Solution:
    content = {
        "question": question,
        "line": line,
        "answer": "7",
        "status": Status.VOTED,
        "confidence": 0.75,
        "policy": "ir",
        "pack": "tiny",
        "seed": 0,
        "rounds": 1,
        "samples": (),
        "tokens": TokenCounts(),
        "seconds": Seconds(),
        "settings": SETTINGS,
    }
    return Solution(**{**content, **changes})


def problems_of(path: Path) -> list[FileProblem]:
    return [entry for entry in read_problems(path) if isinstance(entry, FileProblem)]


# --- problem files ------------------------------------------------------------------------------


def test_every_kind_of_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"question": "a?", "answer": "16 - 7 = <<16-7=9>>9\\n#### 9"}\r\n'
        b"\n"
        b'{"question": "b?", "id": "b1", "answer": 0.10}\n'
        b'{"question": "c?", "id": 3, "answer": 12, "other": []}'
    )
    assert list(read_problems(path)) == [
        FileProblem(1, "a?", None, "16 - 7 = <<16-7=9>>9\n#### 9"),
        FileProblem(3, "b?", "b1", "0.10"),
        FileProblem(4, "c?", 3, "12"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"[1]", "not an object"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"q": 1}', "missing"),
        (b'{"question": 5}', "not a text"),
        (b'{"question": " "}', "empty"),
        (b'{"question": "\xff"}', "UTF-8"),
        (b'{"question": "\\ud800"}', "UTF-8"),
        (b'{"question": "a", "id": true}', "id"),
        (b'{"question": "a", "id": "\\udfff"}', "UTF-8"),
        (b'{"question": "a", "answer": [1]}', "answer"),
        (b'{"question": "' + b"a" * 1_000_001 + b'"}', "1,000,000"),
        (b'{"question": "' + b"a" * 4_000_001 + b'"}', "longer"),
    ],
)
def test_a_broken_line_is_told_and_passed_over(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_bytes(content + b'\n{"question": "ok?"}\n')
    broken, good = read_problems(path)
    assert isinstance(broken, BrokenLine)
    assert broken.line == 1
    assert reason in broken.reason
    assert good == FileProblem(2, "ok?")


def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.jsonl"):
        with pytest.raises(UsageError, match="--file takes JSON lines"):
            list(read_problems(path))


@pytest.mark.parametrize("question", ["", " \n", "\udc80", "a" * 1_000_001])
def test_impossible_questions_are_refused(question: str) -> None:
    with pytest.raises(UsageError):
        check_question(question)


def test_a_solution_is_compared_with_the_reference() -> None:
    found = solution(5, "a?", answer="7")
    completed = FileProblem(5, "a?", "x", "3 + 4 = 7\n#### 7.0").complete(found)
    assert (completed.id, completed.line, completed.correct) == ("x", 5, True)
    assert FileProblem(5, "a?", None, "8").complete(found).correct is False
    assert FileProblem(5, "a?", None, "8").complete(solution(5, "a?", answer=None)).correct is False
    assert FileProblem(5, "a?").complete(found).correct is None


# --- journals -----------------------------------------------------------------------------------


def test_what_was_appended_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    kept = solution(2, "b?")
    with open_journal(path, tmp_path / "locks") as journal:
        journal.append(kept)
        assert journal.find(FileProblem(2, "b?")) == kept
    with open_journal(path, tmp_path / "locks") as journal:
        assert journal.find(FileProblem(2, "b?")) == kept
        assert journal.find(FileProblem(2, "another?")) is None
        assert journal.find(FileProblem(1, "b?")) is None
    assert path.read_text("utf-8") == kept.to_json() + "\n"


def test_a_torn_line_is_cut_off_wherever_it_broke(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first, second = (solution(line, f"{line}?").to_json().encode() for line in (1, 2))
    for length in (1, 5, 11, 12, 100, len(second)):
        path.write_bytes(first + b"\n" + second[:length])
        with open_journal(path, tmp_path / "locks") as journal:
            assert journal.find(FileProblem(1, "1?")) is not None
            assert journal.find(FileProblem(2, "2?")) is None
        assert path.read_bytes() == first + b"\n"


@pytest.mark.parametrize(
    "content",
    [
        b"a diary",
        b"a diary\n",
        b'{"question": "a problem file"}\n',
        b"\x00\x01\x02",
        solution(1, "a?").to_json().encode() + b"\na diary",
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with (
        pytest.raises(UsageError, match="not a result"),
        open_journal(path, tmp_path / "locks"),
    ):
        pass
    assert path.read_bytes() == content


def test_results_of_another_run_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    other_settings = SETTINGS.model_copy(update={"width": 2})
    with open_journal(path, tmp_path / "locks") as journal:
        journal.append(solution(1, "a?"))
        journal.require_same_run(RUN, [FileProblem(1, "a?"), FileProblem(2, "b?")])
        for run, questions, told in (
            (RunSettings("small", "ir", 0, SETTINGS), ["a?"], "pack tiny, this run has small"),
            (RunSettings("tiny", "dr", 0, SETTINGS), ["a?"], "policy ir, this run has dr"),
            (RunSettings("tiny", "ir", 1, SETTINGS), ["a?"], "seed 0, this run has 1"),
            (RunSettings("tiny", "ir", 0, other_settings), ["a?"], "width 4, this run has 2"),
            (RUN, ["c?"], "another question for line 1"),
        ):
            problems = [FileProblem(line, text) for line, text in enumerate(questions, 1)]
            with pytest.raises(UsageError, match=told):
                journal.require_same_run(run, problems)


def test_results_of_another_pack_of_that_name_are_refused(tmp_path: Path) -> None:
    path, notes = tmp_path / "results.jsonl", tmp_path / "notes"
    with open_journal(path, tmp_path / "locks") as journal:
        journal.require_same_pack("first", notes)
        journal.require_same_pack("second", notes)  # nothing is in it yet
        journal.append(solution(1, "a?"))
    with open_journal(path, tmp_path / "locks") as journal:
        journal.require_same_pack("second", notes)
        with pytest.raises(UsageError, match="another version of the pack"):
            journal.require_same_pack("first", notes)
        journal.require_same_pack("second", notes)


def test_results_of_before_there_were_notes_of_the_pack_go_on(tmp_path: Path) -> None:
    path, notes = tmp_path / "results.jsonl", tmp_path / "notes"
    path.write_text(solution(1, "a?").to_json() + "\n", "utf-8")
    with open_journal(path, tmp_path / "locks") as journal:
        journal.require_same_pack("first", notes)
        with pytest.raises(UsageError, match="another version of the pack"):
            journal.require_same_pack("second", notes)


def test_only_one_run_at_a_time_has_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with (
        open_journal(path, tmp_path / "locks"),
        pytest.raises(LoridError, match="Another run"),
        open_journal(path, tmp_path / "locks"),
    ):
        pass
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["results.jsonl"]


def test_a_place_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "results.jsonl"):
        with pytest.raises(UsageError), open_journal(path, tmp_path / "locks"):
            pass


def test_errors_of_the_user_of_a_journal_pass_through(tmp_path: Path) -> None:
    with (
        pytest.raises(BrokenPipeError),
        open_journal(tmp_path / "results.jsonl", tmp_path / "locks"),
    ):
        raise BrokenPipeError


def test_the_fingerprint_changes_with_everything(tmp_path: Path) -> None:
    from lorid_edge.packs.store import PackStore

    manifest = PackStore(tmp_path).find("tiny").manifest
    other = manifest.model_copy(update={"version": "9.9.9"})
    wide = RUN.settings.model_copy(update={"width": 9})
    prints = [
        fingerprint(tmp_path / "a", manifest, RUN, None),
        fingerprint(tmp_path / "b", manifest, RUN, None),
        fingerprint(tmp_path / "a", other, RUN, None),
        fingerprint(tmp_path / "a", manifest, RUN, 512),
        fingerprint(tmp_path / "a", manifest, RunSettings("tiny", "dr", 0, SETTINGS), None),
        fingerprint(tmp_path / "a", manifest, RunSettings("tiny", "ir", 1, SETTINGS), None),
        fingerprint(tmp_path / "a", manifest, RunSettings("tiny", "ir", 0, wide), None),
    ]
    assert len(set(prints)) == len(prints)
    assert prints[0] == fingerprint(tmp_path / "a", manifest, RUN, None)


def test_the_fingerprint_of_a_pack_changes_with_what_it_writes(tmp_path: Path) -> None:
    from lorid_edge.packs.store import PackStore

    manifest = PackStore(tmp_path).find("tiny").manifest
    own = pack_fingerprint(manifest, None)
    described = manifest.model_copy(update={"description": "Another.", "results": ()})
    assert own == pack_fingerprint(manifest, manifest.context.sequence_tokens)
    assert own == pack_fingerprint(described, None)
    newer = manifest.model_copy(update={"version": "9.9.9"})
    others = {pack_fingerprint(newer, None), pack_fingerprint(manifest, 4096)}
    assert len(others | {own}) == 3


def test_json_is_one_line_whatever_the_question(tmp_path: Path) -> None:
    text = 'line\nbreak\u2028 and "quotes" \x1b[31m é'
    line = solution(1, text).to_json()
    assert "\n" not in line
    assert json.loads(line)["question"] == text
