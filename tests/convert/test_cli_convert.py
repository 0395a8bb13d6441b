"""The commands as users run them: outputs, streams, exit codes, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PROGRAM = str(Path(sys.executable).parent / "lorid-edge")


@pytest.fixture
def run(tiny_home: Path, tmp_path: Path) -> Run:
    """Runs `lorid-edge convert ...` in an empty folder, with tiny as the only pack here."""
    environment = {**os.environ, "LORID_EDGE_HOME": str(tiny_home), "LORID_EDGE_OFFLINE": "1"}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "convert", *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_lora_prints_what_it_made(run: Run, base: Path, peft: Path, tmp_path: Path) -> None:
    done = run("lora", peft, "--base", base, "-o", "a.gguf", "--role", "deep_reasoner")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("a.gguf: 28 tensors, rank 16, ")
    again = run("lora", peft, "--base", base, "-o", "a.gguf", "--json", "--force")
    content = json.loads(again.stdout)
    assert (content["schema"], content["rank"], content["tensors"]) == (1, 16, 28)
    assert content["bytes"] == (tmp_path / "a.gguf").stat().st_size


def test_a_whole_chain(run: Run, base: Path, adapter: Path, tmp_path: Path) -> None:
    for arguments in (
        ("merge", base, adapter, "-o", "m.gguf", "--quant", "f16"),
        ("quantize", "m.gguf", "-o", "q.gguf", "--quant", "Q8_0"),
        ("truncate", adapter, "--rank", 4, "-o", "t.gguf"),
        ("inspect", "t.gguf"),
        ("inspect", "q.gguf", "--tensors"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout
    report = json.loads(run("truncate", adapter, "--energy", 0.9, "-o", "e.gguf", "--json").stdout)
    assert report["energy_kept"] >= 0.9
    assert len(report["pairs"]) == 14
    facts = json.loads(run("inspect", "t.gguf", "--json").stdout)
    assert facts["ranks"] == {"4": 14}
    assert len(facts["tensors"]) == 28


def test_a_pack_name_is_its_base(run: Run, peft: Path) -> None:
    done = run("inspect", "tiny")
    assert "134,515,008" in done.stdout
    wrong = run("lora", peft, "--base", "tiny", "-o", "a.gguf")
    assert wrong.returncode == 1
    assert "does not fit the base" in wrong.stderr
    assert len(wrong.stderr.splitlines()) < 40
    missing = run("lora", peft, "--base", "small", "-o", "a.gguf")
    assert missing.returncode == 1
    assert "run: lorid-edge packs pull small" in missing.stderr


def test_the_folder_of_a_pack_is_its_base_too(run: Run, brief_pack: Path, tmp_path: Path) -> None:
    assert "134,515,008" in run("inspect", brief_pack).stdout
    made = run("quantize", brief_pack, "-o", "q.gguf")
    assert "is quantized already" in made.stderr
    (tmp_path / "tiny").mkdir()  # a folder of the user's that only happens to be called so
    assert "134,515,008" in run("inspect", "tiny").stdout
    nothing = run("inspect", tmp_path)
    assert nothing.returncode == 1
    assert "no pack of that name or in that folder" in nothing.stderr


def test_verify_passes_and_fails_with_exit_codes(
    run: Run, base: Path, peft: Path, adapter: Path
) -> None:
    pytest.importorskip("torch")
    good = run("verify", peft, adapter, "--base", base, "--positions", 48)
    assert good.returncode == 0, good.stderr  # which tells the progress if it takes long
    assert "next token agrees  100.00 %" in good.stdout
    assert run("truncate", adapter, "--rank", 2, "-o", "t.gguf").returncode == 0
    bad = run("verify", peft, "t.gguf", "--base", base, "--positions", 48, "--json")
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["ok"] is False
    assert "does not do what the PEFT adapter does" in bad.stderr


WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
    "type": (("lora", "PEFT", "--base", "BASE", "-o", "o", "--type", "q4"), 2, "--type is 'q4'"),
    "no text": (
        ("lora", "PEFT", "--base", "BASE", "-o", "o", "--training-data", ""),
        2,
        "--training-data has 0 characters",
    ),
    "role": (("lora", "PEFT", "--base", "BASE", "-o", "o", "--role", "poet"), 2, "--role is"),
    "base": (("lora", "PEFT", "--base", "nix", "-o", "o"), 1, "no such file, and no pack"),
    "no folder": (("lora", "nix", "--base", "BASE", "-o", "o"), 1, "nix: no such folder"),
    "no output folder": (("lora", "PEFT", "--base", "BASE", "-o", "no/o"), 1, "does not exist"),
    "no output": (("lora", "PEFT", "--base", "BASE"), 2, "--output"),
    "quantization": (("merge", "BASE", "ADAPTER", "-o", "o", "--quant", "Q3"), 2, "known are"),
    "no adapter": (("merge", "BASE", "BASE", "-o", "o"), 1, "not a LoRA adapter"),
    "both": (("truncate", "ADAPTER", "-o", "o", "--rank", "2", "--energy", "1"), 2, "either"),
    "inspect": (("inspect", "nix"), 1, "no such file"),
    "prompts": (
        ("verify", "PEFT", "ADAPTER", "--base", "BASE", "--prompts", "nix"),
        2,
        "cannot be read as UTF-8",
    ),
}


@pytest.mark.parametrize("reason", WRONG)
def test_errors_are_one_message(
    reason: str, run: Run, base: Path, peft: Path, adapter: Path, tmp_path: Path
) -> None:
    arguments, code, message = WRONG[reason]
    named = {"PEFT": str(peft), "BASE": str(base), "ADAPTER": str(adapter)}
    done = run(*(named.get(argument, argument) for argument in arguments))
    assert done.returncode == code
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminate"]
)
@pytest.mark.parametrize("quantization", ["F32", "Q4_K_M"])
def test_an_interrupted_merge_leaves_nothing(
    quantization: str,
    number: signal.Signals,
    code: int,
    tiny_base: Path,
    run: Run,
    tmp_path: Path,
) -> None:
    from random_adapter import RandomAdapter, write_random_adapter

    from lorid_edge.formats.base_model import check_base

    write_random_adapter(RandomAdapter(), check_base(tiny_base), tmp_path / "peft")
    assert run("lora", "peft", "--base", tiny_base, "-o", "a.gguf").returncode == 0
    before = sorted(path.name for path in tmp_path.iterdir())
    command = [PROGRAM, "convert", "merge", str(tiny_base), "a.gguf", "-o", "m.gguf"]
    child = subprocess.Popen(
        [*command, "--quant", quantization],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while child.poll() is None and not list(tmp_path.glob(".m.gguf*.partial")):
        time.sleep(0.005)
    child.send_signal(number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == code, errors
    assert "Traceback" not in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_sees_a_bar(base: Path, adapter: Path, tmp_path: Path) -> None:
    import pexpect

    arguments = ["convert", "merge", str(base), str(adapter), "-o", str(tmp_path / "m.gguf")]
    terminal = {**os.environ, "TERM": "xterm-256color"}
    terminal.pop("NO_COLOR", None)
    child = pexpect.spawn(PROGRAM, arguments, env=terminal, timeout=60, dimensions=(24, 100))
    child.expect("merging .*100%")
    child.expect(r"m\.gguf: ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
