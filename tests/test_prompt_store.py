"""Evaluated prompts on disk: damaged, foreign, in folders that may only be read, left by a kill."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from lorid_edge.engine.model import BARE, AdapterKey
from lorid_edge.engine.prompt_store import PromptStore


def test_a_damaged_or_foreign_stored_prompt_is_not_used(tmp_path: Path) -> None:
    store = PromptStore(tmp_path, "base and library")
    key, tokens = AdapterKey("a" * 64, 0.5), (1, 2, 3)
    store.write(key, tokens, b"some state")
    assert store.read(key, tokens) == b"some state"
    assert store.read(AdapterKey("a" * 64, 1.0), tokens) is None
    assert store.read(key, (1, 2)) is None
    assert PromptStore(tmp_path, "another base").read(key, tokens) is None
    (file,) = tmp_path.glob("*.kv")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert store.read(key, tokens) is None


def test_a_stored_prompt_is_read_where_nothing_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PromptStore(tmp_path, "tiny")
    store.write(BARE, (1, 2, 3), b"some state")

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert store.read(BARE, (1, 2, 3)) == b"some state"


def test_what_a_killed_process_left_of_a_stored_prompt_goes(tmp_path: Path) -> None:
    left, under_way = (tmp_path / f"{tempfile.gettempprefix()}{name}" for name in ("abc", "def"))
    for path in (left, under_way):
        path.write_bytes(b"half a state")
    os.utime(left, (0, 0))
    PromptStore(tmp_path, "tiny").write(BARE, (1, 2, 3), b"some state")
    assert not left.exists()
    assert under_way.exists()  # another process may be writing it
    assert len(list(tmp_path.glob("*.kv"))) == 1
