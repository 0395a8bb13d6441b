"""Processes that are started for one task run nothing that lies in the user's working folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorid_edge.bench.child import run_child
from lorid_edge.bench.settings import BenchSettings
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
