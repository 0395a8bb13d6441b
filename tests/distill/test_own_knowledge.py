"""`lorid-edge distill own-knowledge`, with the knowledge generator of the tiny pack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lorid_edge.cli.main import app
from lorid_edge.data.datasets import load_dataset
from lorid_edge.distill.journal import companion_of
from lorid_edge.train.targets import is_rule_list, knowledge_text

THINGS = ("pens", "apples", "tickets", "chairs")


@pytest.fixture
def runner(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.delenv("LORID_EDGE_OFFLINE", raising=False)
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    return CliRunner()


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    lines = [
        {
            "id": f"price-{thing}",
            "question": f"Mia buys {n} {thing} for {n + 1} dollars each. How much does she pay?",
            "rationale": f"{n} * {n + 1} = {n * (n + 1)}",
            "answer": str(n * (n + 1)),
        }
        for n, thing in enumerate(THINGS, start=3)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def command(problems: Path, output: Path, *more: str) -> list[str]:
    given = ["distill", "own-knowledge", str(problems), "--pack", "tiny", "-o", str(output)]
    return [*given, *more]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rules_become_a_data_set(runner: CliRunner, problems: Path, tmp_path: Path) -> None:
    output = tmp_path / "own.jsonl"
    result = runner.invoke(app, command(problems, output, "--in-flight", "3", "--json"))
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    made = load_dataset(output).records
    assert report["problems"] == report["done"] == len(THINGS)
    assert report["kept"] == len(made) > 0
    assert report["rules"] == sum(len(record.knowledge) for record in made)
    asked = {record.id: record for record in load_dataset(problems).records}
    for record in made:
        assert is_rule_list(knowledge_text(record.knowledge))
        assert record == asked[record.id].model_copy(update={"knowledge": record.knowledge})
    aside = lines(companion_of(output)) if companion_of(output).exists() else []
    assert sorted([*(r.id for r in made), *(line["id"] for line in aside)]) == sorted(asked)

    again = runner.invoke(app, command(problems, output, "--json"))
    assert json.loads(again.stdout)["tokens"] == 0
    other = runner.invoke(app, command(problems, output, "--seed", "7"))
    assert other.exit_code == 2
    assert "seed 0, this run has 7" in other.stderr


def test_what_is_too_long_is_set_aside(runner: CliRunner, tmp_path: Path) -> None:
    problems, output = tmp_path / "long.jsonl", tmp_path / "own.jsonl"
    problems.write_text(json.dumps({"id": "long", "question": "How many? " * 400}) + "\n", "utf-8")
    result = runner.invoke(app, command(problems, output))
    assert result.exit_code == 0, result.stderr
    assert [line["reason"] for line in lines(companion_of(output))] == ["too_long"]


def test_what_other_commands_made_is_left_alone(
    runner: CliRunner, problems: Path, tmp_path: Path
) -> None:
    output = tmp_path / "rules.jsonl"
    output.write_text('{"id": "price-pens", "knowledge": ["Multiply."], "teacher": "tiny"}\n')
    before = output.read_bytes()
    result = runner.invoke(app, command(problems, output))
    assert result.exit_code == 2
    assert "not a result of" in result.stderr
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    ("more", "part"), [(("--in-flight", "0"), "--in-flight is 0"), (("--in-flight", "257"), "256")]
)
def test_impossible_wishes_are_refused(
    runner: CliRunner, problems: Path, tmp_path: Path, more: tuple[str, ...], part: str
) -> None:
    output = tmp_path / "own.jsonl"
    result = runner.invoke(app, command(problems, output, *more))
    assert result.exit_code == 2
    assert part in result.stderr
    assert not output.exists()
