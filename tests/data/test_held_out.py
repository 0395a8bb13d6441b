"""The wall between training and testing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from lorid_edge.data.datasets import Split, load_dataset
from lorid_edge.data.held_out import held_out_hashes, question_hash, require_trainable
from lorid_edge.data.record import Record
from lorid_edge.errors import DataError

ROOT = Path(__file__).parents[2]


def disguised(question: str) -> str:
    return "  " + question.upper().replace(" ", "  \n").replace("'", "’") + "?! "


def test_hashes_ignore_case_space_and_punctuation() -> None:
    question = "Tom's 3 boxes hold 12 pencils; he gives 5 away. How many are left?"
    assert question_hash(disguised(question)) == question_hash(question)
    assert question_hash(question.replace("12", "13")) != question_hash(question)
    assert question_hash("Natalias $1000 for 10km") == question_hash("Natalia's $1,000 for 10 km")
    assert len(held_out_hashes()) == 1819


def test_a_held_out_question_is_named() -> None:
    records = [Record(id=f"r{n}", question=f"What is {n}?") for n in range(6)]
    forbidden = frozenset(question_hash(disguised(f"What is {n}?")) for n in (1, 4))
    with pytest.raises(DataError, match=r"2 of the questions .*\(r1, r4\)"):
        require_trainable(records, forbidden)
    require_trainable(records)


def test_no_question_of_the_training_split_is_held_out(gsm8k_folder: Path) -> None:
    lines = (gsm8k_folder / "train.jsonl").read_text("utf-8").splitlines()
    questions = [json.loads(line)["question"] for line in lines]
    found = [question_hash(question) in held_out_hashes() for question in questions]
    assert found == 6973 * [False] + 500 * [True]


@pytest.mark.parametrize("split", [Split.DEVELOPMENT, Split.TEST])
def test_no_file_with_a_held_out_question_is_trained_on(
    split: Split, gsm8k_folder: Path, tmp_path: Path
) -> None:
    held_out = load_dataset(gsm8k_folder, split).records[7]
    training = load_dataset(gsm8k_folder).records
    path = tmp_path / "mixed.jsonl"

    def write(question: str) -> None:
        questions = [record.question for record in training[:20]] + [question]
        path.write_text("".join(json.dumps({"question": text}) + "\n" for text in questions))

    write(training[20].question)
    assert len(load_dataset(path).records) == 21
    for question in (held_out.question, disguised(held_out.question)):
        write(question)
        with pytest.raises(DataError, match="mixed-train-00020"):
            load_dataset(path)
        assert len(load_dataset(path, split).records) == 21
    with pytest.raises(DataError):
        require_trainable([held_out])


def test_the_shipped_hashes_are_those_of_the_questions(gsm8k_folder: Path) -> None:
    path = ROOT / "scripts" / "write_held_out_hashes.py"
    spec = importlib.util.spec_from_file_location("hashes_script", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.TARGET.read_text("ascii") == script.content(str(gsm8k_folder))
