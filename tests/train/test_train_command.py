"""`lorid-edge train` from a recipe to a pack, on random bases that train in a moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_base import write_random_base
from safetensors.numpy import load_file
from small_pack import Workshop, make_workshop, problem, write_lines
from typer.testing import CliRunner

from lorid_edge.convert.peft_export import write_peft_folder
from lorid_edge.formats.gguf import GgufFile
from lorid_edge.packs.manifest import load_manifest
from lorid_edge.roles import Role

pytest.importorskip("torch")

from lorid_edge.cli.main import app
from lorid_edge.evaluation.trial import Trial, try_pack
from lorid_edge.train.loss_curve import read_curve
from lorid_edge.train.shipped import known_recipes

IR, KG, DR = Role
runner = CliRunner()


@pytest.fixture(scope="module")
def random_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_base("llama", tiny_base, tmp_path_factory.mktemp("base") / "toy.gguf")


@pytest.fixture
def workshop(tmp_path: Path, random_base: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    made = make_workshop(tmp_path, random_base)
    monkeypatch.setenv("LORID_EDGE_HOME", str(made.home))
    write_lines(made.recipe.with_name("dev.jsonl"), [problem(77), problem(78)])
    with made.recipe.open("a", encoding="utf-8") as file:
        file.write('\n[evaluation]\ndataset = "dev.jsonl"\n')
    return made


def train(workshop: Workshop, *arguments: str) -> Any:
    return runner.invoke(app, ["train", str(workshop.recipe), *arguments])


def test_all_roles_are_trained_converted_installed_and_evaluated(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    examples_of_bare: list[int] = []

    def noting_examples(pack: Path, *arguments: Any, bare: bool, **options: Any) -> Trial:
        if bare:
            examples_of_bare.append(len(load_manifest(pack).roles[IR].examples))
        return try_pack(pack, *arguments, bare=bare, **options)

    monkeypatch.setattr("lorid_edge.evaluation.trial.try_pack", noting_examples)
    first = train(workshop, "--run", str(run), "--role", "ir", "--json")
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["evaluation"] == []
    weights = (run / IR.value / "adapter" / "adapter_model.safetensors").read_bytes()

    second = train(
        workshop, "--run", str(run), "--install", "--json", "--set", "evaluation.bare=true"
    )
    assert second.exit_code == 0, second.stderr
    summary = json.loads(second.stdout)
    assert "intuitive_reasoner: trained already" in second.stderr
    assert (run / IR.value / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    for role in Role:
        rows = read_curve(run / role.value / "loss.jsonl")
        assert [row["step"] for row in rows] == [1, 2, 3, 4]
        assert summary["roles"][role.value]["last_loss"] == rows[-1]["loss"].__round__(4)
        assert (run / role.value / "loss.svg").is_file()

    text = (workshop.pack / "pack.toml").read_text("utf-8")
    assert "# This comment stays." in text
    assert "# this one, too" in text
    manifest = load_manifest(workshop.pack)
    assert manifest.roles[IR].examples == ()
    assert examples_of_bare == [1, 1]  # it is asked as before the installation
    opened = workshop.store.open(workshop.store.find(workshop.pack))
    assert {role: info.role for role, info in opened.adapters.items()} == {r: r for r in Role}
    assert (summary["pack"], summary["installed"]) == (str(workshop.pack), True)
    evaluated = [(result["policy"], result["adapters"]) for result in summary["evaluation"]]
    assert evaluated == [("ir", True), ("dr", True), ("ir", False), ("dr", False)]
    assert all(result["problems"] == 2 for result in summary["evaluation"])
    kept = json.loads((run / "evaluation.json").read_text("utf-8"))
    assert kept["results"] == summary["evaluation"]
    described = json.loads((run / "run.json").read_text("utf-8"))
    assert described["base"]["sha256"] == manifest.base.sha256
    assert {"torch", "transformers", "peft", "lorid-edge", "python"} <= described["versions"].keys()


def test_without_install_the_pack_is_left_alone(workshop: Workshop, tmp_path: Path) -> None:
    before = (workshop.pack / "pack.toml").read_bytes()
    result = train(workshop, "--run", str(tmp_path / "run"), "--role", "kg")
    assert result.exit_code == 0, result.stderr
    assert (workshop.pack / "pack.toml").read_bytes() == before
    assert [path.name for path in workshop.pack.iterdir()] == ["pack.toml"]
    built = load_manifest(tmp_path / "run" / "pack")
    assert built.roles[KG].adapter is not None
    assert built.roles[IR].adapter is None
    assert len(built.roles[IR].examples) == 1  # an untrained role is asked as before
    assert "pack:" in result.stdout


def test_the_deep_reasoner_waits_for_what_it_starts_from(workshop: Workshop) -> None:
    result = train(workshop, "--role", "dr")
    assert result.exit_code == 1
    assert "train that role first" in result.stderr


def test_the_deep_reasoner_starts_from_what_the_pack_ships(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(workshop, "--role", "ir", "--run", str(tmp_path / "ir"), "--install")
    assert first.exit_code == 0, first.stderr
    refused = train(workshop, "--role", "dr", "--set", "lora.alpha=4")
    assert refused.exit_code == 1
    assert "has rank 4 and alpha 8" in refused.stderr
    run = tmp_path / "dr"

    def copied_by_another_first(adapter: Path, base: GgufFile, folder: Path) -> None:
        """As where a launcher started several processes."""
        write_peft_folder(adapter, base, folder)
        shutil.copytree(folder, folder.with_name("start"))

    monkeypatch.setattr("lorid_edge.train.training.write_peft_folder", copied_by_another_first)
    # So cautious that what it ends with is what it began with.
    arguments = ["--role", "dr", "--run", str(run), "--set", "training.learning_rate=1e-9"]
    result = train(workshop, *arguments)
    assert result.exit_code == 0, result.stderr
    assert not list((run / DR.value).glob(".*"))
    before = load_file(tmp_path / "ir" / IR.value / "adapter" / "adapter_model.safetensors")
    after = load_file(run / DR.value / "adapter" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    for name, values in after.items():  # as Q8_0 keeps them
        np.testing.assert_allclose(values, before[name], atol=0.01 * abs(before[name]).max())


def test_a_rehearsal_keeps_nothing_and_tells_the_cost(workshop: Workshop) -> None:
    result = train(workshop, "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["dry_run"] is True
    for role in Role:
        assert summary["roles"][role.value]["steps"] == 2
        assert summary["roles"][role.value]["estimated_seconds"] >= 0
        assert summary["roles"][role.value]["peak_memory_bytes"] > 0
    assert not (workshop.home / "state" / "training").exists()


def test_what_would_do_nothing_is_refused(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train(workshop, "--evaluate", "--set", "evaluation.problems=0")
    assert result.exit_code == 2
    assert "--set evaluation.problems=100" in result.stderr
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        result = train(workshop, "--dry-run")
        assert result.exit_code == 2
        assert "--dry-run is for one process" in result.stderr


def test_examples_are_shown_with_marks_where_there_is_no_colour(workshop: Workshop) -> None:
    result = train(workshop, "--show-example")
    assert result.exit_code == 0, result.stderr
    assert r"[[trained: She has 0 + 2 = 2 eggs." in result.stdout
    assert "\\boxed{2}.<|im_end|> ]]" in result.stdout
    assert "- Add what is bought to what is there.<|im_end|> ]]" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_a_run_that_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    run = tmp_path / "run"
    curve = run / IR.value / "loss.jsonl"
    arguments = ["train", str(workshop.recipe), "--role", "ir", "--run", str(run)]
    arguments += ["--set", "training.epochs=100", "--set", "training.batch_examples=16"]
    child = subprocess.Popen(
        [str(Path(sys.executable).parent / "lorid-edge"), *arguments],
        stderr=subprocess.PIPE,
        env=os.environ.copy(),
        text=True,
    )
    while child.poll() is None and len(read_curve(curve)) < 2:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=240)
    assert child.returncode == 130, said
    assert said.splitlines()[-1].endswith("Run the same command again.")
    done = len(read_curve(curve))
    assert done < 100
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert [row["step"] for row in read_curve(curve)] == list(range(1, 101))


def test_examples_as_json_are_what_people_see(workshop: Workshop) -> None:
    result = train(workshop, "--show-example", "--json")
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["roles"].keys() == {role.value for role in Role}
    example = shown["roles"][IR.value]
    assert example["completion"].startswith("She has 0 + 2 = 2 eggs.")
    assert example["end"] == "<|im_end|>"
    assert "How many has she?" in example["prompt"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--role", "critic"], "--role is 'critic'"),
        (["--set", "training.epochs"], "--set is 'training.epochs'"),
        (["--set", "=1"], "--set is '=1'"),
        (["--max-steps", "0"], "--max-steps"),
    ],
)
def test_wrong_usage_is_told(workshop: Workshop, arguments: list[str], told: str) -> None:
    refused = train(workshop, *arguments)
    assert refused.exit_code == 2
    assert told in refused.stderr


def test_recipes_are_listed() -> None:
    unknown = runner.invoke(app, ["train", "no/such"])
    assert unknown.exit_code == 1
    assert "tiny/cpu" in unknown.stderr
    listed = runner.invoke(app, ["train"])
    assert listed.stdout.split() == list(known_recipes())
    as_json = runner.invoke(app, ["train", "--json"])
    assert json.loads(as_json.stdout) == {"schema": 1, "recipes": list(known_recipes())}


@pytest.mark.parametrize("name", [name for name in known_recipes() if name.startswith("paper/")])
def test_the_papers_recipes_work_on_bases_of_their_architectures(
    name: str, workshop: Workshop, tiny_base: Path, tmp_path: Path
) -> None:
    folder = random_checkpoint(name, tiny_base, tmp_path / "checkpoint")
    overrides = {
        "base.model": str(folder),
        "data.reasoning": f"['{workshop.data}']",
        "data.knowledge": f"['{workshop.data}']",
        "training.device": "auto",
        "training.batch_examples": "4",
    }
    settings = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    result = runner.invoke(app, ["train", name, "--dry-run", "--json", *settings])
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert {summary["roles"][role.value]["steps"] for role in Role} == {2}


def random_checkpoint(name: str, tiny_base: Path, folder: Path) -> Path:
    """A random Hugging Face checkpoint of the architecture that the paper's base has."""
    import transformers

    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        str(tiny_base.parent), gguf_file=tiny_base.name
    )
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
    }
    config: Any
    if "mistral" in name:
        config = transformers.MistralConfig(**shape, num_key_value_heads=2)
    elif "qwen" in name:
        config = transformers.Qwen2Config(**shape, num_key_value_heads=2)
    else:  # llama-3 alone of these shares heads of keys and values
        heads = 2 if "llama-3" in name else 4
        config = transformers.LlamaConfig(**shape, num_key_value_heads=heads)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_colour_and_a_bar(workshop: Workshop, tmp_path: Path) -> None:
    import pexpect

    def said(*arguments: str, **environment: str) -> str:
        child = pexpect.spawn(
            str(Path(sys.executable).parent / "lorid-edge"),
            ["train", str(workshop.recipe), "--role", "ir", *arguments],
            env={**os.environ, "TERM": "xterm-256color", **environment},
            dimensions=(30, 120),
            encoding="utf-8",
            timeout=240,
        )
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0, child.before
        return str(child.before)

    shown = said("--show-example")
    dim, green = shown.index("\x1b[2m"), shown.index("\x1b[32m")
    assert dim < shown.index("How many has she?") < green < shown.index("She has 0 + 2 = 2 eggs.")
    assert "[[trained" not in shown
    assert "\x1b" not in said("--show-example", NO_COLOR="1")
    assert "tokens/s" in said("--run", str(tmp_path / "run"))
