"""Processes that are started for one task run nothing that lies in the user's working folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from lorid_edge.bench.child import run_child
from lorid_edge.bench.settings import BenchSettings
from lorid_edge.child import _START
from lorid_edge.convert.quantize import run_quantizer
from lorid_edge.engine.probe import probe
from lorid_edge.errors import LoridError


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with modules named as some that are imported, and as the package."""
    for name in ("numpy", "psutil", "llama_cpp", "lorid_edge"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the trap was run')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _measure(folder: Path) -> None:
    settings = BenchSettings(pack="nowhere")
    for _ in run_child("speed", settings, folder / "home", folder / "home"):
        pass


def _quantize(folder: Path) -> None:
    run_quantizer(Path("gone.gguf"), folder / "out.gguf", "Q8_0")


def _probe(folder: Path) -> None:
    raise LoridError(probe(Path("gone.gguf"), {"F32"}, folder / "state").explanation)


def test_the_standard_library_comes_before_what_is_installed() -> None:
    """A module that is installed under the name of a standard one, as some are, is not run."""
    installed = sysconfig.get_path("purelib")
    command = [sys.executable, "-c", _START, installed, "site"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert 0 < told.index(repr(sysconfig.get_path("stdlib"))) < told.index(repr(installed))


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (_measure, "unknown pack 'nowhere'"),
        (_quantize, "gone.gguf"),
        (_probe, "gone.gguf"),
    ],
)
def test_nothing_of_the_working_folder_is_run(start: object, reason: str, trap: Path) -> None:
    with pytest.raises(LoridError, match=reason) as caught:
        start(trap)  # type: ignore[operator]
    assert "the trap" not in str(caught.value)
