"""The files of a distilling run: nothing is lost, doubled or mixed up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lorid_edge.data.record import Record
from lorid_edge.distill.journal import companion_of, open_journal
from lorid_edge.errors import LoridError, UsageError


def lines_of(problem: str, count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"{problem}/{n}", "question": "a\u2028ü", "problem": problem, "of": count}
        for n in range(count)
    ]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A run that finished two problems and set one aside."""
    path = tmp_path / "runs" / "chains.jsonl"
    with open_journal(path, tmp_path / "locks") as journal:
        journal.keep(lines_of("a", 2))
        journal.set_aside({"id": "b", "reason": "none"})
        journal.keep([{"id": "c"}])
        assert journal.is_done("a")
    return path


def reopened(path: Path) -> tuple[list[str], bytes]:
    with open_journal(path, path.parents[1] / "locks") as journal:
        done = [problem for problem in "abcd" if journal.is_done(problem)]
    return done, path.read_bytes()


def test_what_was_done_is_known_again(output: Path) -> None:
    assert companion_of(output).name == "chains.set-aside.jsonl"
    before = output.read_bytes()
    assert reopened(output) == (["a", "b", "c"], before)
    assert [json.loads(line)["id"] for line in before.splitlines()] == ["a/0", "a/1", "c"]


def gone_on_with(path: Path) -> bytes:
    """The file after a further problem was kept, without that one's line."""
    with open_journal(path, path.parents[1] / "locks") as journal:
        journal.keep([{"id": "d"}])
    content = path.read_bytes()
    assert content.endswith(b'{"id":"d"}\n')
    return content.removesuffix(b'{"id":"d"}\n')


@pytest.mark.parametrize("cut_bytes", range(2, 12))
def test_a_torn_line_is_cut_off_by_the_next(output: Path, cut_bytes: int) -> None:
    content = output.read_bytes()
    lines = content.splitlines(keepends=True)
    output.write_bytes(content[:-cut_bytes])
    assert reopened(output) == (["a", "b"], content[:-cut_bytes])
    assert gone_on_with(output) == b"".join(lines[:2])


def test_a_last_line_that_only_lacks_its_end_is_whole(output: Path) -> None:
    content = output.read_bytes()
    output.write_bytes(content[:-1])
    assert reopened(output) == (["a", "b", "c"], content[:-1])
    assert gone_on_with(output) == content


def test_a_problem_that_lacks_records_is_done_again(output: Path) -> None:
    lines = output.read_bytes().splitlines(keepends=True)
    torn = lines[2] + lines[0] + lines[1][:20]
    output.write_bytes(torn)
    assert reopened(output) == (["b", "c"], torn)
    assert gone_on_with(output) == lines[2]


@pytest.mark.parametrize(
    "content", [b"Dear diary", b'{"id": 3}\n', b"[]\n", b'{"question": "q"}\n']
)
def test_other_files_are_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "diary.jsonl"
    path.write_bytes(content)
    with (
        pytest.raises(UsageError, match="not a result of 'distill'"),
        open_journal(path, tmp_path / "locks"),
    ):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b'{"id": "1", "note": "mine"}', b'{"id": "1", "note": "mi'])
def test_a_file_without_a_last_newline_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b'{"id": "0", "note": "mine"}\n' + content)
    with (
        pytest.raises(UsageError, match="not a result of 'distill'"),
        open_journal(path, tmp_path / "locks") as journal,
    ):
        journal.require_fields("teacher")
    assert path.read_bytes() == b'{"id": "0", "note": "mine"}\n' + content


def test_two_runs_do_not_write_at_once(output: Path) -> None:
    locks = output.parents[1] / "locks"
    with (
        open_journal(output, locks),
        pytest.raises(LoridError, match="Another run"),
        open_journal(output, locks),
    ):
        pass


def test_another_runs_results_are_refused(output: Path) -> None:
    with open_journal(output, output.parents[1] / "locks") as journal:
        journal.require_same_run({"seed": 3})  # a line that says nothing of it may be the same
        journal.set_aside({"id": "d", "seed": 2})
        with pytest.raises(UsageError, match="seed 2, this run has 3"):
            journal.require_same_run({"seed": 3})


def test_results_of_other_data_with_the_same_ids_are_refused(output: Path) -> None:
    with open_journal(output, output.parents[1] / "locks") as journal:
        same = Record(id="a", question="a\u2028ü")
        journal.require_same_data([same, Record(id="b", question="Not known there.")])
        with pytest.raises(UsageError, match=r"of a is 'a.*ü' there, and in this run 'Another"):
            journal.require_same_data([Record(id="a", question="Another?")])
        journal.keep([{"id": "d", "question": "What is 2+2?", "answer": "4"}])
        with pytest.raises(UsageError, match="the answer of d is '4' there, and in this run '5'"):
            journal.require_same_data([Record(id="d", question="What is 2+2?", answer="5")])


def test_a_full_disk_loses_nothing(output: Path) -> None:
    resource = pytest.importorskip("resource")
    before = output.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_journal(output, output.parents[1] / "locks") as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        try:
            with pytest.raises(LoridError, match="make room"):
                journal.keep(lines_of("d", 1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert output.read_bytes() == before
        assert not journal.is_done("d")
        journal.keep(lines_of("d", 1))
    assert reopened(output)[0] == ["a", "b", "c", "d"]
