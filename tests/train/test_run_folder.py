"""The folder of a run: a loss curve that stays in order, and runs that do not mix."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from random_base import write_random_base
from small_pack import Workshop, make_workshop, problem, write_lines

from lorid_edge.formats.adapter_card import AdapterCard, read_card
from lorid_edge.roles import Role
from lorid_edge.train.job import StepReport
from lorid_edge.train.loss_curve import CURVE_NAME, LossCurve, draw_curve, read_curve
from lorid_edge.train.plan import Plan, development_records, make_plan
from lorid_edge.train.recipe import RecipeError
from lorid_edge.train.run import RunError, open_run, training_data_text
from lorid_edge.train.training import tokens_in_all

IR, KG, DR = Role


def report(step: int, loss: float = 1.0) -> StepReport:
    return StepReport(
        step=step,
        steps=10,
        epoch=step / 10,
        loss=loss,
        learning_rate=1e-3,
        gradient_norm=1.0,
        tokens=100 * step,
        tokens_per_second=50.0 + step,
        peak_memory_bytes=1000 * step,
    )


def test_a_run_that_goes_on_cuts_off_what_comes_again(tmp_path: Path) -> None:
    killed = LossCurve(tmp_path)
    for step in range(1, 8):
        killed.add(report(step, loss=9.0))
    with (tmp_path / CURVE_NAME).open("a") as file:
        file.write('{"step": 8, "lo')  # the kill came in the middle of a line
    before = read_curve(tmp_path / CURVE_NAME)
    resumed = LossCurve(tmp_path)  # the last checkpoint was at step 4
    for step in range(5, 11):
        resumed.add(report(step, loss=1.0))
    rows = read_curve(tmp_path / CURVE_NAME)
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert [row["loss"] for row in rows] == 4 * [9.0] + 6 * [1.0]
    assert rows[:4] == before[:4]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    curve = LossCurve(tmp_path)
    for step in range(1, 4):
        curve.add(report(step))
    picture = draw_curve(tmp_path, "tiny: intuitive_reasoner").read_text("utf-8")
    assert picture.startswith("<?xml")
    assert "</svg>" in picture


@pytest.fixture(scope="module")
def random_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_base("llama", tiny_base, tmp_path_factory.mktemp("base") / "toy.gguf")


@pytest.fixture
def workshop(tmp_path: Path, random_base: Path) -> Workshop:
    return make_workshop(tmp_path, random_base)


def plan_of(workshop: Workshop, *overrides: str, role: Role = IR) -> Plan:
    return make_plan(workshop.recipe, [role], overrides=overrides, store=workshop.store)


def begin(plan: Plan, folder: Path, role: Role = IR) -> None:
    with open_run(folder, plan) as run:
        curve = LossCurve(run.role(role))
        curve.add(report(1))


def test_a_begun_role_is_not_gone_on_with_by_other_settings(
    workshop: Workshop, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    begin(plan_of(workshop), folder)
    begin(plan_of(workshop, "training.checkpoint_seconds=1.0", "output.type=f16"), folder)
    less_memory = ("training.micro_batch_tokens=64", "training.gradient_checkpointing=true")
    begin(plan_of(workshop, *less_memory), folder)
    with pytest.raises(RunError, match=r"roles\.intuitive_reasoner\.training\.epochs"):
        begin(plan_of(workshop, "training.epochs=2"), folder)
    write_lines(workshop.data, [problem(number) for number in range(15)])
    with pytest.raises(RunError, match=r"the data problems\.jsonl"):
        begin(plan_of(workshop), folder)


def test_data_sets_of_one_name_are_told_apart(workshop: Workshop, tmp_path: Path) -> None:
    chains = workshop.data.parent / "chains" / workshop.data.name
    chains.parent.mkdir()
    write_lines(chains, [problem(number) for number in range(8)])
    override = f'data.reasoning=["chains/{chains.name}"]'
    for role in (IR, DR, IR):
        begin(plan_of(workshop, override, role=role), tmp_path / "run", role)
    plan = plan_of(workshop, override, role=DR)
    described = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    sha256 = {name: data.sha256 for name, data in plan.datasets.items()}
    assert described["datasets"] == sha256
    assert len(set(sha256.values())) == 2
    text = training_data_text(plan, plan.roles[DR])
    assert "chains/problems (train split" in text
    write_lines(chains, [problem(number) for number in range(9)])
    with pytest.raises(RunError, match=r"settings: the data chains/problems\.jsonl\. Name"):
        begin(plan_of(workshop, override), tmp_path / "run")


def test_a_run_of_a_version_that_named_data_by_files_is_gone_on_with(
    workshop: Workshop, tmp_path: Path
) -> None:
    begin(plan_of(workshop), tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    described = json.loads(path.read_text("utf-8"))
    del described["datasets"]
    path.write_text(json.dumps({**described, "data": {"problems": "0" * 64}}), "utf-8")
    begin(plan_of(workshop), tmp_path / "run")


def test_a_run_of_a_version_that_knew_fewer_keys_is_gone_on_with(
    workshop: Workshop, tmp_path: Path
) -> None:
    begin(plan_of(workshop), tmp_path / "run")
    path = tmp_path / "run" / "recipe.json"
    effective = json.loads(path.read_text("utf-8"))
    del effective["roles"][IR.value]["data"]["max_broken_fraction"]
    path.write_text(json.dumps(effective), "utf-8")
    begin(plan_of(workshop), tmp_path / "run")
    with pytest.raises(RunError, match="max_broken_fraction"):
        begin(plan_of(workshop, "data.max_broken_fraction=0.5"), tmp_path / "run")


def test_a_role_that_was_not_begun_is_free(workshop: Workshop, tmp_path: Path) -> None:
    begin(plan_of(workshop), tmp_path / "run")
    changed = plan_of(workshop, "roles.knowledge_generator.lora.rank=8", role=KG)
    begin(changed, tmp_path / "run", KG)
    effective = json.loads((tmp_path / "run" / "recipe.json").read_text("utf-8"))
    ranks = {role: settings["lora"]["rank"] for role, settings in effective["roles"].items()}
    assert ranks == {IR.value: 4, KG.value: 8, DR.value: 4}


def test_two_processes_do_not_train_in_one_folder(workshop: Workshop, tmp_path: Path) -> None:
    plan = plan_of(workshop)
    with (
        open_run(tmp_path / "run", plan),
        pytest.raises(RunError, match="another process"),
        open_run(tmp_path / "run", plan),
    ):
        pass


def test_a_finished_role_tells_what_it_was(workshop: Workshop, tmp_path: Path) -> None:
    plan = plan_of(workshop)
    with open_run(tmp_path / "run", plan) as run:
        assert not run.is_finished(IR)
        curve = LossCurve(run.role(IR))
        for step in range(1, 11):
            curve.add(report(step, loss=11.0 - step))
        run.adapter(IR).mkdir()
        (run.role(IR) / "checkpoint-00000010").mkdir()
        summary = run.finish(plan, plan.roles[IR])
        assert run.is_finished(IR)
        assert run.finished() == [IR]
        assert run.summary(IR) == summary
        assert not list(run.role(IR).glob("checkpoint-*"))
    assert (summary["first_loss"], summary["last_loss"]) == (10.0, 1.0)
    assert (summary["steps"], summary["tokens"]) == (10, 1000)
    assert (summary["tokens_per_second"], summary["peak_memory_bytes"]) == (55.5, 10_000)
    assert summary["data"]["examples"] == 16
    [data] = summary["data"]["sets"]
    assert data["sha256"] == next(iter(plan.datasets.values())).sha256
    assert read_card(tmp_path / "run" / IR.value / "adapter") == AdapterCard(
        role=IR,
        base_sha256=plan.base.sha256,
        name="toy-brief intuitive_reasoner",
        training_data=f"16 examples of problems (train split, SHA-256 {data['sha256'][:12]})",
        licence="CC0-1.0",
    )


def test_the_tokens_of_a_training_heed_its_epochs_and_steps(workshop: Workshop) -> None:
    def tokens(*overrides: str) -> float:
        return tokens_in_all(plan_of(workshop, *overrides).roles[IR])

    once = tokens()
    assert once == plan_of(workshop).roles[IR].tokens
    assert tokens("training.epochs=3") == 3 * once
    assert tokens("training.epochs=3", "training.max_steps=2") == once / 2  # 8 of 16 examples
    assert tokens("training.max_steps=50") == once


def test_what_was_trained_on_does_not_evaluate(workshop: Workshop) -> None:
    plan = plan_of(workshop)
    recipe = plan.recipe
    evaluation = recipe.evaluation.model_copy(update={"dataset": workshop.data.name})
    changed = replace(plan, recipe=recipe.model_copy(update={"evaluation": evaluation}))
    with pytest.raises(RecipeError, match="16 of its questions are in the training data"):
        development_records(changed)
    write_lines(workshop.data.with_name("other.jsonl"), [problem(77), problem(78)])
    evaluation = evaluation.model_copy(update={"dataset": "other.jsonl", "problems": 1})
    changed = replace(plan, recipe=recipe.model_copy(update={"evaluation": evaluation}))
    assert [record.answer for record in development_records(changed)] == ["79"]
