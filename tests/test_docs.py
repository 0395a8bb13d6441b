"""The examples in README, docs and help texts are run; generated pages are up to date."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from random_adapter import RandomAdapter, write_random_adapter

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LESSONS = """
{"question": "What is 2 + 2?", "rationale": "2 + 2 = 4", "answer": "4", "knowledge": ["Add."]}
{"question": "What is 3 + 2?", "rationale": "3 + 2 = 5", "answer": "5", "knowledge": ["Add."]}
""".lstrip()
PROBLEMS = """
{"id": 1, "question": "What is 2 + 2?", "rationale": "2 + 2 = 4", "answer": "4"}
{"id": 2, "question": "What is 7 * 8?"}
""".lstrip()


def commands() -> Iterator[tuple[str, str]]:
    """(page, command line) for every `lorid-edge ...` in an indented or fenced block."""
    pattern = re.compile(
        r"\s*(?:Example: |\$ |OMP_NUM_THREADS=1 taskset -c \d )?"
        r"((?:echo [^|]*\| )?lorid-edge (?!  ).*?)(?: &)?"
    )
    for page in PAGES:
        is_fenced = False
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("```"):
                is_fenced = not is_fenced
            match = pattern.fullmatch(line)
            if match and (is_fenced or line.startswith("    ")):
                yield page.name, match[1]


COMMANDS = sorted(set(commands()))


def scripts() -> Iterator[str]:
    """`benchmarks/x.py ...` for every script that a page runs with Python."""
    for page in [*PAGES, *ROOT.glob("benchmarks/*/README.md"), *ROOT.glob("models/*/README.md")]:
        yield from re.findall(r"python (benchmarks/[^`\n]+)", page.read_text(encoding="utf-8"))


SCRIPTS = sorted(set(scripts()))


def test_the_pages_have_examples() -> None:
    assert len(COMMANDS) >= 12
    assert len(SCRIPTS) >= 12


@pytest.fixture(scope="session")
def adapters(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the adapter that the examples convert, and what becomes of it."""
    from lorid_edge.convert.lora import LoraConversion, convert_lora
    from lorid_edge.formats.base_model import check_base

    folder = tmp_path_factory.mktemp("adapters")
    peft = write_random_adapter(RandomAdapter(), check_base(tiny_base), folder / "peft-adapter")
    convert_lora(LoraConversion(peft, tiny_base, folder / "adapter.gguf"))
    return folder


@pytest.fixture(scope="session")
def evaluated(tiny_home: Path, brief_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation run, for the examples that read some."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "lessons.jsonl").write_text(LESSONS)
    arguments = ["--pack", str(brief_pack), "--data", "lessons.jsonl", "--policy", "ir"]
    subprocess.run(
        [Path(sys.executable).parent / "lorid-edge", "eval", *arguments, "--run", "run"],
        cwd=folder,
        env={**os.environ, "LORID_EDGE_HOME": str(tiny_home), "LORID_EDGE_OFFLINE": "1"},
        capture_output=True,
        check=True,
    )
    return folder / "run"


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_examples_run(
    page: str,
    line: str,
    tiny_home: Path,
    brief_pack: Path,
    adapters: Path,
    evaluated: Path,
    tmp_path: Path,
) -> None:
    """As they stand, but for the pack: the brief one stands in for those that are not here."""
    (tmp_path / "problems.jsonl").write_text(PROBLEMS)
    (tmp_path / "peft-adapter").symlink_to(adapters / "peft-adapter")
    if "-o adapter.gguf" not in line:
        (tmp_path / "adapter.gguf").symlink_to(adapters / "adapter.gguf")
    if "convert verify" in line:
        pytest.importorskip("torch")
    line, standard_input = _without_pipe(line)
    arguments = shlex.split(line)[1:]
    if arguments[:1] == ["train"] and len(arguments) > 1:
        pytest.importorskip("torch")
        (tmp_path / "lessons.jsonl").write_text(LESSONS)
        for data in ("reasoning", "knowledge"):
            arguments += ["--set", f"data.{data}=['lessons.jsonl']"]
        arguments += ["--no-evaluate", "--run", str(tmp_path / "run")]
    if arguments[:1] == ["solve"]:
        arguments += ["--pack", str(brief_pack)]
    if arguments[:1] == ["bench"]:
        arguments += ["--pack", str(brief_pack), "--quick", "--runs", "1", "--problems", "1"]
        arguments += [] if "--part" in arguments else ["--part", "policies", "--policies", "ir"]
    if arguments[:1] == ["eval"] and arguments[1].startswith("--"):
        (tmp_path / "lessons.jsonl").write_text(LESSONS)
        arguments += ["--pack", str(brief_pack), "--data", "lessons.jsonl", "--run", "run"]
    if arguments[:1] == ["eval"] and not arguments[1].startswith("--"):
        for name in ("vote", "adaptive"):
            shutil.copytree(evaluated, tmp_path / "runs" / name)
    expected = {0, 3}  # the tiny base may well stay undecided
    if arguments[:2] == ["packs", "pull"] and "tiny" not in arguments:
        expected = {1}  # the network is not for tests: offline it must say what is missing
    if any(argument.startswith("https://") for argument in arguments):
        expected = {1}  # offline as well
    if arguments[:2] == ["packs", "verify"] and "tiny" not in arguments[2:]:
        expected |= {1}
    environment = {
        **os.environ,
        "LORID_EDGE_HOME": str(tiny_home),
        "LORID_EDGE_OFFLINE": "1",
    }
    command = str(Path(sys.executable).parent / "lorid-edge")
    if arguments[:1] == ["serve"]:
        arguments += ["--pack", str(brief_pack)]
        if "--stdio" not in arguments:
            _start_and_stop([command, *arguments, "--port", "0"], environment)
            return
    child = subprocess.run(
        [command, *arguments],
        cwd=tmp_path,
        env=environment,
        input=standard_input,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode in expected, child.stderr
    assert "Traceback" not in child.stderr


def _start_and_stop(command: list[str], environment: dict[str, str]) -> None:
    """A server says where it is, and ends when it is asked to."""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert child.stderr.readline().startswith("http://")
        child.terminate()
        assert child.wait(10) == 0, child.stderr.read()


def _without_pipe(line: str) -> tuple[str, str]:
    """The command and the standard input of `echo "..." | lorid-edge ...`."""
    if not line.startswith("echo "):
        return line, ""
    said, _, command = line.partition(" | ")
    return command, shlex.split(said)[1] + "\n"


class _AcceptedError(Exception):
    """Raised in place of the work when a script has taken its arguments."""


@pytest.mark.parametrize("line", SCRIPTS, ids=SCRIPTS)
def test_the_arguments_of_scripts_are_accepted(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser) -> None:
        parse(parser)
        raise _AcceptedError

    script, *arguments = shlex.split(line)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(_AcceptedError):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def python_blocks() -> list[tuple[str, str]]:
    blocks = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks += [(page.name, block) for block in re.findall(r"```python\n(.*?)```", text, re.S)]
    return blocks


@pytest.mark.parametrize(("page", "code"), python_blocks())
def test_python_examples_run(
    page: str, code: str, tiny_home: Path, brief_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    tree = ast.parse(code)
    for node in ast.walk(tree):  # the brief pack stands in for the one named
        if isinstance(node, ast.Constant) and node.value in ("standard", "small", "tiny"):
            node.value = str(brief_pack)
    exec(compile(tree, page, "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", ["command-line", "python"])
def test_a_page_made_by_a_script_is_up_to_date(page: str) -> None:
    path = ROOT / "scripts" / f"write_{page.replace('-', '_')}_reference.py"
    spec = importlib.util.spec_from_file_location("reference_script", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    written = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert written == script.reference(), f"run python {path.relative_to(ROOT)}"


@pytest.mark.parametrize("name", ["solve", "eval", "eval compare"])
def test_the_page_of_commands_holds_the_help_as_it_is_printed(name: str) -> None:
    from typer.testing import CliRunner

    from lorid_edge.cli.main import app

    arguments = [*name.split(), "--help"]
    width = {"terminal_width": 96, "max_content_width": 96}
    printed = CliRunner().invoke(app, arguments, prog_name="lorid-edge", **width).stdout
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert f"## lorid-edge {name}\n\n```text\n{printed.rstrip()}\n```" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
    for name in re.findall(r"`((?:benchmarks|scripts|docs|lorid_edge|models)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
