"""lm-evaluation-harness drives a pack, in Python and through `serve`, on a task of three sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from running_server import RunningServer

from lorid_edge.errors import UsageError
from lorid_edge.loading import LoadSettings
from lorid_edge.packs.places import HOME_VARIABLE
from lorid_edge.solver import Solver, SolveSettings

pytest.importorskip("lm_eval")

if TYPE_CHECKING:
    from lorid_edge.evaluation.harness import PackModel

pytestmark = pytest.mark.timeout(900)  # imports a great deal, slowly on a busy machine

QUESTIONS = ["What is 2+2?", "What is 3*5?", "What is 9+3?"]
TASK = """
task: sums
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
num_fewshot: 0
generation_kwargs:
  until: []
metric_list:
  - metric: exact_match
"""


@pytest.fixture(scope="module")
def model(tiny_home: Path, brief_pack: Path) -> Iterator[PackModel]:
    """The brief pack, for the harness."""
    from lorid_edge.evaluation.harness import PackModel

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(tiny_home))
        model = PackModel(str(brief_pack), policy="ir", width=1, in_flight=3)
    yield model
    model.close()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A folder with the task; its last reference is one that no answer equals."""
    folder = tmp_path / "task"
    folder.mkdir()
    data = folder / "sums.jsonl"
    records = zip(QUESTIONS, ("4", "15", "none"), strict=True)
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in records]
    data.write_text("\n".join(lines), "utf-8")
    (folder / "sums.yaml").write_text(TASK.format(data=data), "utf-8")
    return folder


def asked(question: str, **settings: Any) -> SimpleNamespace:
    """A request as the harness makes it, as far as a model reads it."""
    return SimpleNamespace(args=(question, settings))


def run_harness(folder: Path, home: Path, model_arguments: str) -> list[dict[str, Any]]:
    """Run the task in a process of its own and return what was logged for each problem."""
    command = [sys.executable, "-m", "lorid_edge.evaluation.harness", "run", "--log_samples"]
    command += ["--model", "lorid-edge", "--model_args", model_arguments]
    command += ["--include_path", str(folder), "--tasks", "sums"]
    environment = {
        **os.environ,
        HOME_VARIABLE: str(home),
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    done = subprocess.run(
        [*command, "--output_path", str(folder / "output")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (samples,) = (folder / "output").rglob("samples_sums_*.jsonl")
    logged = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    return sorted(logged, key=lambda sample: int(sample["doc_id"]))


def test_the_harness_scores_what_the_solver_answers(
    task: Path, tiny_home: Path, brief_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = run_harness(task, tiny_home, f"pack={brief_pack},policy=ir,width=1")
    monkeypatch.setenv(HOME_VARIABLE, str(tiny_home))
    answers = [""] * len(QUESTIONS)
    with Solver.open(brief_pack, settings=LoadSettings(width=1, in_flight=8)) as solver:
        for place, solution in solver.solve_many(QUESTIONS, settings=SolveSettings("ir")):
            answers[place] = solution.answer or ""
    assert [sample["filtered_resps"] for sample in logged] == [[answer] for answer in answers]
    assert [sample["exact_match"] for sample in logged] == [
        float(answer == sample["target"]) for answer, sample in zip(answers, logged, strict=True)
    ]
    assert logged[2]["exact_match"] == 0.0


def test_the_harness_drives_a_server(
    task: Path, tiny_home: Path, brief_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    server = RunningServer(tiny_home, tmp_path / "log", "--pack", str(brief_pack), "--width", "1")
    monkeypatch.setenv("OPENAI_API_KEY", server.token or "")
    try:
        address = f"{server.address}/v1/chat/completions"
        found = lm_eval.simple_evaluate(
            model="local-chat-completions",
            model_args={"model": "lorid-edge", "base_url": address, "num_concurrent": 1},
            tasks=["sums"],
            task_manager=TaskManager(include_path=str(task), include_defaults=False),
            apply_chat_template=True,
            bootstrap_iters=0,
        )
    finally:
        server.stop()
    logged = sorted(found["samples"]["sums"], key=lambda sample: int(sample["doc_id"]))
    assert [sample["doc"]["question"] for sample in logged] == QUESTIONS
    assert all(sample["resps"][0][0] for sample in logged)
    right = sum(sample["resps"] == [[sample["target"]]] for sample in logged)
    assert found["results"]["sums"]["exact_match,none"] == pytest.approx(right / 3)


def test_a_question_asked_again_has_another_seed_and_keeps_its_place(model: PackModel) -> None:
    question = "Name a number from 1 to 1000."
    requests = [asked(text) for text in (question, "What is 2+2?", *[question] * 5)]
    replies = model.generate_until(requests)
    assert replies == model.generate_until(requests)
    alone = model.generate_until([asked("What is 2+2?")])
    assert len(replies) == len(requests)
    assert replies[1:2] == alone
    assert len({replies[0], *replies[2:]}) > 1


def test_stops_are_heeded_and_a_question_without_room_has_no_answer(model: PackModel) -> None:
    (whole,) = model.generate_until([asked("What is 2+2?")])
    assert len(whole) > 0
    cut = model.generate_until([asked("What is 2+2?", until=[whole[-1], "\n"])])
    assert cut == [whole.partition(whole[-1])[0]]
    assert model.generate_until([asked("What is 1+1? " * 200), asked("What is 2+2?")]) == [
        "",
        whole,
    ]


def test_likelihoods_and_impossible_settings_are_refused(model: PackModel) -> None:
    from lorid_edge.evaluation.harness import PackModel

    with pytest.raises(UsageError, match="only tasks with output_type: generate_until"):
        model.loglikelihood([])
    with pytest.raises(UsageError, match="no policy 'guess'"):
        PackModel(policy="guess")
