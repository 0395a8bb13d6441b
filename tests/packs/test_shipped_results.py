"""The results that the shipped packs state, and the picture that is drawn of them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pack_accuracy import PACKS, PUBLISHED, draw

from lorid_edge.evaluation.accuracy import wilson_interval
from lorid_edge.packs.manifest import Result, load_manifest

MODELS = Path(__file__).resolve().parent.parent.parent / "models"
STATED = [(pack, result) for pack in PACKS for result in load_manifest(MODELS / pack).results]


@pytest.mark.parametrize(("pack", "result"), STATED)
def test_a_stated_result_has_its_own_interval(pack: str, result: Result) -> None:
    counts = [
        right
        for right in range(result.problems + 1)
        if round(100 * right / result.problems, 1) == result.accuracy_percent
    ]  # more than one where a problem is less than the tenth of a percent that is stated
    assert counts, pack
    stated = pytest.approx((result.low_percent, result.high_percent), abs=0.06)
    intervals = [wilson_interval(right, result.problems) for right in counts]
    assert any((100 * low, 100 * high) == stated for low, high in intervals)


@pytest.mark.parametrize(("pack", "result"), STATED)
def test_a_stated_result_names_the_command_that_gave_it(pack: str, result: Result) -> None:
    words = shlex.split(result.command)
    assert words[:2] == ["lorid-edge", "eval"]
    assert words[words.index("--pack") + 1] == pack
    assert words[words.index("--policy") + 1] == result.policy
    assert words[words.index("--limit") + 1] == str(result.problems)
    assert result.command in (MODELS / pack / "README.md").read_text("utf-8")


def test_the_picture_names_the_packs_and_what_was_published(tmp_path: Path) -> None:
    manifests = [load_manifest(MODELS / pack) for pack in PACKS]
    draw(manifests, tmp_path / "packs.svg")
    picture = (tmp_path / "packs.svg").read_text("utf-8")
    for name in (*PACKS, *(name for name, _, _ in PUBLISHED)):
        assert name in picture
