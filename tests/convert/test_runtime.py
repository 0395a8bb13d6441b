"""A converted adapter in the runtime: its role writes otherwise, and a wrong base is refused."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from random_adapter import RandomAdapter, write_random_adapter

from lorid_edge import Solver
from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.errors import AdapterError
from lorid_edge.formats.adapter_card import AdapterCard
from lorid_edge.formats.base_model import check_base
from lorid_edge.loading import LoadSettings
from lorid_edge.packs.checksums import sha256_of
from lorid_edge.packs.store import PackStore
from lorid_edge.roles import Role
from lorid_edge.solver import SolveSettings

QUESTION = "What is 2+3?"


@pytest.fixture
def write_pack(tiny_base: Path, brief_pack: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the brief pack with an adapter for the intuitive reasoner."""

    def write(strength: float, claimed_sha256: str | None = None) -> Path:
        folder = tmp_path / "adapted"
        folder.mkdir()
        drawn = RandomAdapter(rank=8, strength=strength)
        peft = write_random_adapter(drawn, check_base(tiny_base), tmp_path / "peft")
        card = AdapterCard(role=Role.INTUITIVE_REASONER)
        path = folder / "ir.gguf"
        convert_lora(LoraConversion(peft, tiny_base, path, "q8_0", card=card))
        if claimed_sha256 is not None:
            content = path.read_bytes()
            path.write_bytes(
                content.replace(sha256_of(tiny_base).encode(), claimed_sha256.encode())
            )
        manifest = (brief_pack / "pack.toml").read_text("utf-8")
        table = (
            f'[roles.intuitive_reasoner.adapter]\nfile = "ir.gguf"\nsha256 = "{sha256_of(path)}"\n'
        )
        manifest = re.sub(r"(?=\[roles\.knowledge_generator\])", f"{table}\n", manifest)
        (folder / "pack.toml").write_text(manifest.replace('"brief"', '"adapted"', 1), "utf-8")
        return folder

    return write


def intuitive_text(pack: Path, home: Path, settings: LoadSettings | None = None) -> str:
    store = PackStore(home)
    with Solver.open(pack, settings=settings, store=store) as solver:
        solution = solver.solve(QUESTION, settings=SolveSettings("ir"))
    return solution.samples[0].text


def test_a_converted_adapter_changes_what_its_role_writes(
    write_pack: Callable[..., Path], brief_pack: Path, tiny_home: Path
) -> None:
    assert intuitive_text(write_pack(0.8), tiny_home) != intuitive_text(brief_pack, tiny_home)


def test_an_adapter_of_another_base_is_refused_unless_asked_for(
    write_pack: Callable[..., Path], tiny_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack = write_pack(0.05, "c" * 64)
    with pytest.raises(AdapterError, match="--ignore-base-hash at the risk of nonsense"):
        intuitive_text(pack, tiny_home)
    with caplog.at_level(logging.WARNING):
        assert intuitive_text(pack, tiny_home, LoadSettings(ignore_base_hash=True))
    assert "was made for another base" in caplog.text
