"""Data sets by name and path: forms, splits, broken lines, and fetching."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lorid_edge.data import gsm8k
from lorid_edge.data.datasets import Split, load_dataset
from lorid_edge.data.gsm8k import PublishedFile
from lorid_edge.errors import DataError, DownloadError, OfflineError
from lorid_edge.packs.manifest import UrlSource
from lorid_edge.packs.sources import partial_path


def write_lines(path: Path, objects: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(content) + "\n" for content in objects), "utf-8")
    return path


# GSM8K


def test_gsm8k_splits_by_folder_and_by_file(gsm8k_folder: Path) -> None:
    train = load_dataset(gsm8k_folder)
    assert (train.name, train.split, len(train.records)) == ("gsm8k", Split.TRAIN, 6973)
    first = train.records[0]
    assert first.id == "gsm8k-train-00000"
    assert first.answer == "72"
    assert first.rationale is not None
    assert "<<48/2=24>>" in first.rationale
    assert "####" not in first.rationale
    assert train.records == load_dataset(gsm8k_folder / "train.jsonl").records

    development = load_dataset(gsm8k_folder, Split.DEVELOPMENT)
    assert len(development.records) == 500
    assert development.records[0].id == "gsm8k-development-06973"
    test = load_dataset(gsm8k_folder, Split.TEST)
    assert (len(test.records), test.records[-1].id) == (1319, "gsm8k-test-01318")
    questions = [{record.question for record in part.records} for part in (train, development)]
    assert not questions[0] & questions[1]
    assert train.broken == development.broken == test.broken == ()


def test_gsm8k_files_are_not_taken_for_another_split(gsm8k_folder: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "mine.jsonl"
    renamed.write_bytes((gsm8k_folder / "test.jsonl").read_bytes())
    for split in (Split.TRAIN, Split.DEVELOPMENT):
        with pytest.raises(DataError, match="test file"):
            load_dataset(renamed, split)
    with pytest.raises(DataError, match="training file"):
        load_dataset(gsm8k_folder / "train.jsonl", Split.TEST)


def test_the_authors_sample(sample_folder: Path) -> None:
    train = load_dataset(sample_folder / "gsm8k_train.jsonl")
    assert len({record.id for record in train.records}) == len(train.records) == 100
    assert [record.id for record in train.records[:3]] == ["0", "0-2", "0-3"]
    assert all(record.knowledge and record.answer for record in train.records)
    math = load_dataset(sample_folder / "math_train.jsonl")
    assert math.records[0].answer == r"\frac{1}{48}"
    assert "answer is" not in (math.records[0].rationale or "")


# Forms


def test_math_in_folders_and_lines(tmp_path: Path) -> None:
    problem = {"problem": "Half of 3?", "level": "Level 1", "type": "Algebra"}
    solution = {"solution": r"It is $\boxed{\frac{3}{2}}$. So \boxed{\frac{3}{2}}."}
    for name in ("train/algebra/10.json", "train/algebra/2.json", "test/algebra/1.json"):
        path = tmp_path / "MATH" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(problem | solution), "utf-8")
    train = load_dataset(tmp_path / "MATH")
    assert [record.id for record in train.records] == [
        "MATH-train-algebra-2",
        "MATH-train-algebra-10",
    ]
    assert train.records[0].answer == r"\frac{3}{2}"
    assert train.records[0].rationale == r"It is $\frac{3}{2}$. So \frac{3}{2}."
    assert len(load_dataset(tmp_path / "MATH", Split.TEST).records) == 1
    with pytest.raises(DataError, match="no folder development; it has train and test"):
        load_dataset(tmp_path / "MATH", Split.DEVELOPMENT)
    with pytest.raises(DataError, match="named as data to test with"):
        load_dataset(tmp_path / "MATH" / "test")
    lines = write_lines(tmp_path / "math.jsonl", [problem | solution])
    assert load_dataset(lines).records[0].id == "math-train-00000"
    with pytest.raises(DataError, match="no address of its own"):
        load_dataset("math")


def test_plain_records(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "own.jsonl",
        [
            {"question": "a?", "answer": 56, "id": 7},
            {"question": "b?", "rationale": "2+2=4\nThe answer is: $4$", "knowledge": ["Add."]},
            {"question": "c?", "rationale": "So it is \\boxed{9}.", "id": "7"},
            {"question": "d?", "rationale": "r\n#### 1,000", "answer": "1000", "id": "7-2"},
            {"question": "e?"},
        ],
    )
    dataset = load_dataset(path)
    assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [record.id for record in dataset.records] == [
        "7", "own-train-00001", "7-2", "7-2-2", "own-train-00004",
    ]  # fmt: skip
    assert [record.answer for record in dataset.records] == ["56", "4", "9", "1000", None]
    assert [record.rationale for record in dataset.records] == [
        None, "2+2=4", "So it is 9.", "r", None,
    ]  # fmt: skip
    assert dataset.records[1].knowledge == ("Add.",)


def test_a_folder_of_splits(tmp_path: Path) -> None:
    for split in ("train", "development", "test"):
        write_lines(tmp_path / "own" / f"{split}.jsonl", [{"question": f"{split}?"}])
    for split in Split:
        (record,) = load_dataset(tmp_path / "own", split).records
        assert (record.id, record.question) == (f"own-{split.value}-00000", f"{split.value}?")
    (tmp_path / "own" / "development.jsonl").unlink()
    with pytest.raises(DataError, match=r"put development\.jsonl beside it"):
        load_dataset(tmp_path / "own", Split.DEVELOPMENT)


def test_a_file_named_as_a_test_is_not_trained_on(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "algebra_test.jsonl", [{"question": "a?"}])
    with pytest.raises(DataError, match="named as data to test with"):
        load_dataset(path)
    assert len(load_dataset(path, Split.TEST).records) == 1
    assert load_dataset(write_lines(tmp_path / "contest.jsonl", [{"question": "a?"}])).records


# Broken data


def test_broken_lines_have_numbers_and_reasons(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    good = json.dumps({"question": "What?", "answer": "1"})
    bad = [
        "{broken", "[1]", '{"answer": "1"}', '{"question": 3}', '{"question": " "}',
        '{"question": "q", "answer": [1]}', '{"question": "q", "knowledge": "one"}',
        '{"question": "q", "id": [1]}', '{"problem": "q", "solution": "no box"}',
        json.dumps({"question": "q", "answer": "1" * 2000}),
        '{"question": "\\ud800"}', "[" * 100_000,
    ]  # fmt: skip
    path.write_bytes(("\ufeff" + good + "\n\n" + "\n".join(bad) + "\n").encode() + b'"\xff"\n')
    dataset = load_dataset(path, max_broken_fraction=1.0)
    assert len(dataset.records) == 1
    assert [line.line for line in dataset.broken] == list(range(3, 3 + len(bad) + 1))
    reasons = " ".join(line.reason for line in dataset.broken)
    for part in ("not valid JSON", "not an object", '"question" is missing', "not valid UTF-8"):
        assert part in reasons
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert "13 of 14 lines are broken" in str(caught.value)
    assert "line 3: not valid JSON" in str(caught.value)
    assert str(caught.value).endswith("\nCorrect them.")
    with pytest.raises(DataError, match="or allow more with --max-broken"):
        load_dataset(path, broken_setting="--max-broken")


def test_a_few_broken_lines_are_left_out(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "own.jsonl", [{"question": f"{n}?"} for n in range(150)])
    path.write_text(path.read_text("utf-8") + "{\n", "utf-8")
    dataset = load_dataset(path)
    assert (len(dataset.records), dataset.broken[0].line) == (150, 151)


def test_what_is_no_data_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "folder").mkdir()
    for source, part in (
        ("gsm9k", "unknown data set 'gsm9k'"),
        (tmp_path / "empty.jsonl", "is empty"),
        (tmp_path / "folder", "neither train.jsonl nor JSON files"),
    ):
        with pytest.raises(DataError, match=part):
            load_dataset(source)


# Fetching


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A stand-in for GSM8K's training file on a server on loopback; the paths asked for."""
    content = "".join(
        json.dumps({"question": f"{n} + 1?", "answer": f"It is {n + 1}.\n#### {n + 1}"}) + "\n"
        for n in range(510)
    ).encode()
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Range", ""))
            start = int(asked[-1].removeprefix("bytes=").rstrip("-") or 0)
            self.send_response(206 if start else 200)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(content[start:])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}/train.jsonl"
    file = PublishedFile(
        "gsm8k-train.jsonl",
        len(content),
        hashlib.sha256(content).hexdigest(),
        (UrlSource.model_construct(kind="url", url=address),),
    )
    monkeypatch.setattr(gsm8k, "TRAIN_FILE", file)
    monkeypatch.setenv("LORID_EDGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LORID_EDGE_OFFLINE", raising=False)
    yield asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_gsm8k_is_fetched_once_and_resumed(published: list[str], tmp_path: Path) -> None:
    download = tmp_path / "home" / "downloads" / gsm8k.TRAIN_FILE.sha256
    download.mkdir(parents=True)
    partial_path(gsm8k.TRAIN_FILE.sources[0], download).write_bytes(b'{"question": "0 + 1?')
    assert [record.id for record in load_dataset("gsm8k").records][-1] == "gsm8k-train-00009"
    assert load_dataset("gsm8k", Split.DEVELOPMENT).records[0].answer == "11"
    assert published == ["bytes=20-"]


def test_a_changed_file_is_refused(
    published: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = PublishedFile("gsm8k-train.jsonl", gsm8k.TRAIN_FILE.bytes, "0" * 64,
                          gsm8k.TRAIN_FILE.sources)  # fmt: skip
    monkeypatch.setattr(gsm8k, "TRAIN_FILE", wrong)
    with pytest.raises(DownloadError, match="wrong content"):
        load_dataset("gsm8k")


def test_offline_says_what_is_missing_and_where_to_put_it(
    published: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LORID_EDGE_OFFLINE", "1")
    with pytest.raises(OfflineError, match=r"gsm8k-train\.jsonl is missing.*datasets"):
        load_dataset("gsm8k")
    assert published == []
