"""`lorid-edge packs`, `doctor`, help and the installed layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from lorid_edge.cli.main import app


@pytest.fixture
def runner(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.delenv("LORID_EDGE_OFFLINE", raising=False)
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    return CliRunner()


@pytest.fixture
def empty_home(tmp_path: Path, runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("LORID_EDGE_HOME", str(home))
    return home


def all_commands() -> list[list[str]]:
    paths = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        paths.append([name])
        paths += [[name, below] for below in getattr(command, "commands", {})]
    return paths


@pytest.mark.parametrize("path", [[], *all_commands()], ids=" ".join)
def test_every_help_has_an_example(path: list[str]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "lorid-edge " in result.stdout


def test_no_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, []).exit_code == 2
    assert CliRunner().invoke(app, ["packs"]).exit_code == 2


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom lorid_edge.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print(*sys.modules)"
    )
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"pydantic", "numpy", "llama_cpp", "sympy", "huggingface_hub", "prompt_toolkit", "rich"}
    assert not heavy.intersection(modules)
    for part in ("data", "distill", "train"):  # what makes packs is no part of the runtime
        assert not any(module.startswith(f"lorid_edge.{part}") for module in modules)


def test_list_tells_what_is_here(runner: CliRunner) -> None:
    table = runner.invoke(app, ["packs", "list"]).stdout.splitlines()
    assert table[0].split() == ["NAME", "SIZE", "PRESENT", "LICENCE", "DESCRIPTION"]
    listed = json.loads(runner.invoke(app, ["packs", "list", "--json"]).stdout)
    present = {pack["name"]: pack["present"] for pack in listed["packs"]}
    assert present == {"tiny": True, "small": False, "standard": False}


def test_info_takes_names_and_paths(runner: CliRunner, brief_pack: Path) -> None:
    described = json.loads(runner.invoke(app, ["packs", "info", str(brief_pack), "--json"]).stdout)
    assert described["present"] is True
    assert described["base"]["sources"] == ["local nowhere.gguf"]
    assert "licence" in runner.invoke(app, ["packs", "info", "standard"]).stdout
    unknown = runner.invoke(app, ["packs", "info", "huge"])
    assert (unknown.exit_code, unknown.stdout) == (1, "")


def test_verify_finds_damage_and_says_what_helps(
    runner: CliRunner, install_base: Callable[[Path], Path], empty_home: Path
) -> None:
    nothing = runner.invoke(app, ["packs", "verify"])
    assert nothing.exit_code == 0
    assert "No pack is here" in nothing.stderr
    target = install_base(empty_home)
    content = target.read_bytes()
    target.unlink()  # it is linked to the good one
    target.write_bytes(content[:-1] + b"\x00")
    damaged = runner.invoke(app, ["packs", "verify", "tiny", "--json"])
    assert damaged.exit_code == 1
    report = json.loads(damaged.stdout)
    assert report["ok"] is False
    assert "packs pull tiny" in report["packs"][0]["problems"][0]


def test_verify_without_names_checks_those_here(runner: CliRunner) -> None:
    result = runner.invoke(app, ["packs", "verify"])
    assert result.exit_code == 0
    assert result.stdout == "tiny: all files are as they should be\n"


def test_a_broken_pack_stops_no_command_for_the_others(
    runner: CliRunner, install_base: Callable[[Path], Path], empty_home: Path
) -> None:
    install_base(empty_home)
    for name, content in (("mine", "schema = 1\n"), ("other", f"schema = {'1' * 5000}\n")):
        folder = empty_home / "packs" / name
        folder.mkdir(parents=True)
        (folder / "pack.toml").write_text(content)
    checked = runner.invoke(app, ["packs", "verify", "--json"])
    assert checked.exit_code == 1
    problems = {pack["name"]: pack["problems"] for pack in json.loads(checked.stdout)["packs"]}
    assert problems["tiny"] == []
    assert "not a valid manifest" in problems["mine"][0]
    assert "not valid TOML" in problems["other"][0]
    listed = runner.invoke(app, ["packs", "list", "--json"])
    assert listed.exit_code == 0
    names = [pack["name"] for pack in json.loads(listed.stdout)["packs"]]
    assert {"tiny", "mine", "other"} <= set(names)


def test_pull_and_remove(
    runner: CliRunner, tiny_base: Path, empty_home: Path, brief_pack: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    manifest = (brief_pack / "pack.toml").read_text("utf-8")
    (folder / "pack.toml").write_text(manifest.replace("nowhere.gguf", str(tiny_base)), "utf-8")
    pulled = runner.invoke(app, ["packs", "pull", str(folder)])
    assert pulled.exit_code == 0
    assert f"local {tiny_base}" in pulled.stderr
    base = Path(pulled.stdout.strip().partition(": ")[2])
    assert base.is_relative_to(empty_home)
    again = runner.invoke(app, ["packs", "pull", str(folder), "--json"])
    assert json.loads(again.stdout)["packs"][0]["path"] == str(base)

    unasked = runner.invoke(app, ["packs", "remove", str(folder)])
    assert unasked.exit_code == 1
    assert "--yes" in unasked.stderr
    assert base.exists()
    shared = runner.invoke(app, ["packs", "remove", str(folder), "--yes", "--json"])
    assert json.loads(shared.stdout)["freed_bytes"] == 0
    removed = runner.invoke(app, ["packs", "remove", str(folder), "--yes", "--force", "--json"])
    assert json.loads(removed.stdout)["freed_bytes"] == tiny_base.stat().st_size
    assert not base.exists()
    assert tiny_base.exists()


def test_doctor_reports_a_working_machine(runner: CliRunner) -> None:
    result = runner.invoke(app, ["doctor", "--json"])
    report = json.loads(result.stdout)
    states = {finding["name"]: finding["state"] for finding in report["findings"]}
    assert {"python", "processor", "threads", "memory", "home", "disk", "engine"} <= set(states)
    assert states["pack tiny"] in ("ok", "warning")
    assert states["pack small"] == "absent"
    assert states["decoding"] in ("ok", "warning")
    assert report["ok"] is True
    assert result.exit_code == 0
    fixes = [finding["fix"] for finding in report["findings"] if finding["state"] != "ok"]
    assert all(fixes)


def test_doctor_names_what_is_broken(runner: CliRunner, tiny_base: Path, empty_home: Path) -> None:
    target = empty_home / "bases" / tiny_base.name
    target.parent.mkdir(parents=True)
    target.write_bytes(tiny_base.read_bytes()[:1000])
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    broken = [line for line in result.stdout.splitlines() if line.startswith("broken")]
    assert len(broken) == 1
    assert "pack tiny" in broken[0]
    assert "-> lorid-edge packs pull tiny" in result.stdout


def test_doctor_sends_nobody_to_fetch_what_cannot_be_fetched(
    runner: CliRunner, install_base: Callable[[Path], Path], empty_home: Path, brief_pack: Path
) -> None:
    install_base(empty_home)
    manifest = (brief_pack / "pack.toml").read_text("utf-8")
    adapter = f'adapter = {{ file = "deep.gguf", sha256 = "{"0" * 64}" }}\n'
    heading = "[roles.deep_reasoner]\n"
    for name, content in (("a", manifest.replace(heading, heading + adapter)), ("b", "schema = 2")):
        folder = empty_home / "packs" / name
        folder.mkdir(parents=True)
        (folder / "pack.toml").write_text(content, "utf-8")
        (folder / "deep.gguf").write_bytes(b"another")
    report = json.loads(runner.invoke(app, ["doctor", "--json"]).stdout)
    fixes = {finding["name"]: finding["fix"] for finding in report["findings"]}
    assert fixes["pack a"] == "put the right file there, or install the pack anew"
    assert fixes["pack b"] == "correct what is named there"


def test_the_folders_of_the_checkout_are_no_top_level_packages(tmp_path: Path) -> None:
    program = (
        "import importlib.util as util, importlib.resources as resources\n"
        "import lorid_edge.cli.main, lorid_edge.convert\n"
        "assert (resources.files('lorid_edge.models') / 'tiny' / 'pack.toml').is_file()\n"
        "print([name for name in ('cli', 'convert', 'models') if util.find_spec(name)])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == "[]\n"
