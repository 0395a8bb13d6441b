"""Checkpoints: whole or not there, the last good one kept, refused where they do not belong."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lorid_edge.errors import TrainingError
from lorid_edge.train.descent.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

IDENTITY = {"base_sha256": "ab", "lora": {"rank": 4}}
STATE = Checkpoint(3, 100, IDENTITY, {"a": torch.arange(1000.0), "b": torch.tensor(2.0)})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_and_older_ones_go(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STATE)
    write_checkpoint(tmp_path, replace(STATE, step=4))
    assert names(tmp_path) == ["checkpoint-00000004"]
    read = read_checkpoint(tmp_path, IDENTITY)
    assert read is not None
    assert (read.step, read.tokens, read.identity) == (4, 100, IDENTITY)
    assert all(read.tensors[key].equal(value) for key, value in STATE.tensors.items())


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, IDENTITY) is None
    assert read_checkpoint(tmp_path / "nowhere", IDENTITY) is None


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_leaves_the_last_good_one(tmp_path: Path) -> None:
    import resource

    write_checkpoint(tmp_path, STATE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # no file may grow larger
    try:
        with pytest.raises(TrainingError, match="checkpoint-00000003 is kept"):
            write_checkpoint(tmp_path, replace(STATE, step=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ["checkpoint-00000003"]
    assert read_checkpoint(tmp_path, IDENTITY) is not None


def test_what_a_kill_left_half_written_is_not_taken_for_one(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STATE)
    partial = tmp_path / ".checkpoint-00000004.partial"
    partial.mkdir()
    (partial / "state.safetensors").write_bytes(b"half")
    read = read_checkpoint(tmp_path, IDENTITY)
    assert read is not None
    assert read.step == 3
    write_checkpoint(tmp_path, replace(STATE, step=5))  # another step than the one it was killed at
    assert names(tmp_path) == ["checkpoint-00000005"]


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema": 2}'])
def test_a_damaged_one_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    write_checkpoint(tmp_path, STATE)
    (tmp_path / "checkpoint-00000003" / name).write_bytes(content)
    with pytest.raises(TrainingError, match="checkpoint-00000003: damaged"):
        read_checkpoint(tmp_path, IDENTITY)


def test_all_differences_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STATE)
    with pytest.raises(TrainingError) as error:
        read_checkpoint(tmp_path, {"base_sha256": "cd", "lora": {"rank": 8}})
    assert "base_sha256: was 'ab', is 'cd'" in str(error.value)
    assert "lora.rank: was 4, is 8" in str(error.value)


def test_what_is_compared_no_longer_does_not_matter(tmp_path: Path) -> None:
    identity = {**IDENTITY, "lora": {"rank": 4, "colour": "red"}, "mood": 7}
    write_checkpoint(tmp_path, replace(STATE, identity=identity))
    assert read_checkpoint(tmp_path, IDENTITY) is not None
