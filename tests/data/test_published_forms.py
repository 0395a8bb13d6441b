"""SVAMP, ASDiv, MAWPS and GSM-Symbolic as they are published; the problems here are made up."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lorid_edge.answers import same_answer
from lorid_edge.data.datasets import Dataset, Split, load_dataset
from lorid_edge.errors import DataError


def load(path: Path, content: Any, split: Split = Split.DEVELOPMENT) -> Dataset:
    """Write a file, text as it stands and all else as JSON, and load it to evaluate on."""
    text = content if isinstance(content, str) else json.dumps(content, indent=4)
    path.write_text(text, "utf-8")
    return load_dataset(path, split, needs_answers=True, max_broken_fraction=0.9)


def svamp(**changes: Any) -> dict[str, Any]:
    problem = {
        "ID": "chal-1",
        "Body": "A box holds 12 eggs. Five are broken.",
        "Question": "How many are whole?",
        "Equation": "( 12.0 - 5.0 )",
        "Answer": 7.0,
        "Type": "Subtraction",
    }
    return problem | changes


def test_svamp_is_an_array_with_the_question_apart_from_its_story(tmp_path: Path) -> None:
    dataset = load(tmp_path / "SVAMP.json", [svamp(), svamp(ID="chal-2", Answer=0.5)])
    first, second = dataset.records
    assert first.question == "A box holds 12 eggs. Five are broken. How many are whole?"
    assert first.answer is not None
    assert same_answer("7", first.answer)
    assert (first.id, second.id, second.answer) == ("chal-1", "chal-2", "0.5")


def test_a_broken_entry_of_an_array_is_named_by_its_line(tmp_path: Path) -> None:
    broken = svamp(ID="chal-2")
    del broken["Answer"]
    dataset = load(tmp_path / "SVAMP.json", [svamp(), broken, 5])
    assert [(line.line, line.reason.split(";")[0]) for line in dataset.broken] == [
        (10, '"Answer" is missing'),
        (17, 'not an object such as {"question": "What is 7*8?", "answer": "56"}'),
    ]


@pytest.mark.parametrize("answer", [None, "", True, [], {}, float("nan")])
def test_what_is_no_answer_is_not_taken_for_one(tmp_path: Path, answer: Any) -> None:
    dataset = load(tmp_path / "SVAMP.json", [svamp(), svamp(Answer=answer)])
    assert len(dataset.records) == 1
    assert '"Answer" is' in dataset.broken[0].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"question": "?", "answer": "1"}', "line 1: no comma or ]"),
        ('[{"question": "?", "answer": "1"},\n{"question": ]', "line 2: not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('["\udcff"]', "not valid UTF-8"),
        ("<ProblemSet><Problem></ProblemSet>", "not valid XML"),
        (" <?xml version='1.0'?><a/>", "not valid XML"),
        ("[]", "is empty"),
    ],
)
def test_a_broken_document_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message.replace("[", r"\[")):
        load_dataset(path, Split.DEVELOPMENT)


ASDIV = """<?xml version="1.0" encoding="UTF-8" ?>
<Machine-Reading-Corpus-File>
<ProblemSet>
  <Problem ID="nluds-0001" Grade="1" Source="https://example.org">
    <Body>Ann &amp; Bo have 4 hats.</Body>
    <Question>How many hats? </Question>
    <Solution-Type>Addition</Solution-Type>
    <Answer>4 (hats)</Answer>
    <Formula>4=4</Formula>
  </Problem>
  <Problem ID="nluds-0002" Grade="6" Source="https://example.org">
    <Body>The sum of two ages is 20, one is thrice the other.</Body>
    <Question>What are the ages?</Question>
    <Answer>5 (years old); 15 (years old)</Answer>
  </Problem>
  <Problem ID="nluds-0003" Grade="6" Source="https://example.org">
    <Body>What is -1/3 of 1?</Body>
    <Question>Give a fraction.</Question>
    <Answer>-(1/3)</Answer>
  </Problem>
  <Problem ID="nluds-0004" Grade="6" Source="https://example.org">
    <Body>No question.</Body>
    <Answer>3</Answer>
  </Problem>
</ProblemSet>
</Machine-Reading-Corpus-File>
"""


def test_asdiv_gives_units_in_parentheses_and_several_answers(tmp_path: Path) -> None:
    dataset = load(tmp_path / "ASDiv.xml", ASDIV)
    assert [(record.id, record.answer) for record in dataset.records] == [
        ("nluds-0001", "4"),
        ("nluds-0002", "5, 15"),
        ("nluds-0003", "-(1/3)"),
    ]
    assert dataset.records[0].question == "Ann & Bo have 4 hats. How many hats?"
    assert [(line.line, line.reason) for line in dataset.broken] == [(21, '"Question" is missing')]


def test_xml_with_a_document_type_is_refused_before_any_entity_is_read(tmp_path: Path) -> None:
    lines = ASDIV.split("\n", 1)
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>'
    with pytest.raises(DataError, match="line 2: a DOCTYPE"):
        load(tmp_path / "ASDiv.xml", f"{lines[0]}\n{bomb}\n{lines[1]}".replace("Ann", "&y;"))


def test_damage_anywhere_is_a_data_error_or_a_broken_problem(tmp_path: Path) -> None:
    whole = {
        "svamp.json": json.dumps([svamp(), svamp(ID="chal-2")]),
        "asdiv.xml": ASDIV,
        "mawps.csv": 'Question,Numbers,Answer\n"number0 and number1 ?","1.0 2.0",3.0\n',
    }
    random = Random(5)
    for number in range(600):
        name, text = random.choice(list(whole.items()))
        content = bytearray(text.encode())
        for _ in range(random.randint(1, 4)):
            start = random.randrange(len(content))
            content[start : start + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(content)
        try:
            dataset = load_dataset(path, Split.DEVELOPMENT, max_broken_fraction=1)
        except DataError:
            continue
        assert all(record.question.strip() for record in dataset.records)


def test_mawps_as_its_authors_publish_it(tmp_path: Path) -> None:
    problem = {
        "iIndex": 1,
        "lEquations": ["X=(70.0-27.0)"],
        "lSolutions": [43.0],
        "sQuestion": "A crate has 70 pears , 27 are sold . How many are left ?",
    }
    pair = problem | {"iIndex": 2, "lSolutions": [3.0, 4.0]}
    none = problem | {"iIndex": 3, "lSolutions": []}
    dataset = load(tmp_path / "mawps.json", [problem, pair, none])
    assert [(record.id, record.answer) for record in dataset.records] == [
        ("1", "43.0"),
        ("2", "3.0, 4.0"),
    ]
    assert dataset.records[0].question == problem["sQuestion"]
    assert "lSolutions" in dataset.broken[0].reason


def test_mawps_with_its_numbers_set_apart(tmp_path: Path) -> None:
    table = (
        "Question,Numbers,Equation,Answer,group_nums\n"
        '"Of number0 pens , number1 are red . How many are not ?",12.0 4.5,- number0 number1,7.5,'
        '"[1, 2]"\n'
        "number0 of number2 ?,1.0 2.0,,1.0,\n"
        "No numbers ?,3.0,,,\n"
    )
    dataset = load(tmp_path / "dev.csv", table)
    assert dataset.broken[0].line == 3
    assert '"Question" holds number2' in dataset.broken[0].reason
    assert (dataset.broken[1].line, dataset.broken[1].reason) == (4, '"Answer" is missing')
    (record,) = dataset.records
    assert record.question == "Of 12 pens , 4.5 are red . How many are not ?"
    assert record.answer == "7.5"
    entry = {"Question": "N_00 cups and N_01 spoons ?", "Numbers": "8 2", "Answer": "10.0"}
    assert load(tmp_path / "m.json", [entry]).records[0].question == "8 cups and 2 spoons ?"


def test_gsm_symbolic_has_an_instance_beside_the_id_and_is_only_to_test_with(
    tmp_path: Path,
) -> None:
    problem = {
        "id": 0,
        "question": "A fog bank covers 3 miles of a 42 mile city in 14 minutes. How long for all?",
        "answer": "42/3 = 14 times\n14 * 14 = 196 minutes\n#### 196",
        "original_id": 9999,
        "original_question": "Made up.",
        "original_answer": "#### 1",
    }
    lines = "".join(json.dumps(problem | {"instance": number}) + "\n" for number in range(3))
    dataset = load(tmp_path / "GSM_symbolic.jsonl", lines, Split.TEST)
    assert [record.id for record in dataset.records] == ["0-0", "0-1", "0-2"]
    assert {record.answer for record in dataset.records} == {"196"}
    with pytest.raises(DataError, match="test split"):
        load(tmp_path / "GSM_symbolic.jsonl", lines, Split.TRAIN)


def test_math_with_the_answer_beside_the_solution_or_alone(tmp_path: Path) -> None:
    beside = {
        "problem": "Half of 3?",
        "solution": r"It is $\boxed{\frac{3}{2}}$.",
        "answer": r"\frac{3}{2}",
        "subject": "Algebra",
        "unique_id": "test/algebra/1.json",
    }
    alone = {"problem": "A fifth of 10?", "answer": 2, "id": "b"}
    lines = "".join(json.dumps(problem) + "\n" for problem in (beside, alone))
    dataset = load(tmp_path / "math500.jsonl", lines)
    assert [(record.id, record.answer) for record in dataset.records] == [
        ("test/algebra/1.json", r"\frac{3}{2}"),
        ("b", "2"),
    ]


def test_a_file_without_answers_is_refused_when_they_are_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load(tmp_path / "mine.jsonl", '{"question": "What is 7*8?"}\n')
    assert 'line 1: no reference answer; expected "answer"' in str(refusal.value)
    assert load_dataset(tmp_path / "mine.jsonl", Split.DEVELOPMENT).records[0].answer is None
