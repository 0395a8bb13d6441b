"""Finding, opening, checking and removing packs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from pack_workshop import (
    local,
    sha256,
    write_gguf,
    write_pack,
)

from lorid_edge.errors import (
    AdapterError,
    ModelFileError,
    PackError,
    UsageError,
)
from lorid_edge.packs.store import Pack, PackStore
from lorid_edge.roles import Role

# Finding


def test_shipped_and_added_packs_are_known(store: PackStore, base_file: Path) -> None:
    write_pack(store.places.packs / "mine", base_file, [local(base_file)])
    assert set(store.known()) == {"tiny", "small", "standard", "mine"}
    assert store.find("mine").folder == store.places.packs / "mine"


def test_unknown_packs_list_the_known_ones(store: PackStore) -> None:
    with pytest.raises(PackError, match=r"unknown pack 'huge'; .*small, standard, tiny.* path"):
        store.find("huge")


def test_the_home_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tmp_path / "elsewhere"))
    assert PackStore().find("tiny").base_path.is_relative_to(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("reference", ["~nosuchuser/pack", "x" * 5000])
def test_an_impossible_path_is_an_unknown_pack(store: PackStore, reference: str) -> None:
    with pytest.raises(PackError, match="unknown pack"):
        store.find(reference)


def test_a_home_of_nobody_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORID_EDGE_HOME", "~nosuchuser/home")
    with pytest.raises(UsageError, match="LORID_EDGE_HOME is '~nosuchuser/home'"):
        PackStore()


# Opening, verifying, removing


@pytest.fixture
def adapter(tmp_path: Path, base_file: Path) -> Path:
    name = "blk.0.attn_q.weight"
    return write_gguf(
        tmp_path / "dr.gguf",
        {
            "general.type": "adapter",
            "adapter.type": "lora",
            "adapter.lora.alpha": 8.0,
            "lorid.role": "deep_reasoner",
            "lorid.base_sha256": sha256(base_file),
        },
        {
            f"{name}.lora_a": np.ones((4, 32), np.float32),
            f"{name}.lora_b": np.ones((32, 4), np.float32),
        },
    )


@pytest.fixture
def full_pack(store: PackStore, tmp_path: Path, base_file: Path, adapter: Path) -> Pack:
    """A pack with a base, pulled, and an adapter for the deep reasoner."""
    pack = store.find(write_pack(tmp_path / "full", base_file, [local(base_file)], adapter))
    store.pull(pack)
    return pack


def test_open_returns_what_was_checked(store: PackStore, full_pack: Pack) -> None:
    verified = store.open(full_pack)
    assert verified.base.path == full_pack.base_path
    assert verified.base.architecture == "qwen2"
    assert list(verified.adapters) == [Role.DEEP_REASONER]
    assert verified.adapters[Role.DEEP_REASONER].rank == 4
    assert full_pack.adapter_path(Role.DEEP_REASONER) == full_pack.folder / "dr.gguf"
    assert full_pack.adapter_path(Role.INTUITIVE_REASONER) is None


def test_open_says_how_to_fetch_a_missing_base(store: PackStore) -> None:
    with pytest.raises(PackError, match=r"491 MB.*run: lorid-edge packs pull small$"):
        store.open(store.find("small"))


def test_open_trusts_a_stamp_and_verify_does_not(store: PackStore, full_pack: Pack) -> None:
    path = full_pack.base_path
    store.open(full_pack)
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    store.open(full_pack)
    assert any("SHA-256" in problem for problem in store.verify(full_pack))

    # What verify found out is not forgotten.
    with pytest.raises(ModelFileError, match="SHA-256"):
        store.open(full_pack)


def test_a_changed_adapter_is_refused(store: PackStore, full_pack: Pack) -> None:
    path = full_pack.adapter_path(Role.DEEP_REASONER)
    assert path is not None
    with path.open("ab") as file:
        file.write(b"?")
    with pytest.raises(AdapterError, match=r"deep_reasoner has SHA-256 .*; put the right file"):
        store.open(full_pack)
    path.unlink()
    with pytest.raises(AdapterError, match="cannot be read: No such file"):
        store.open(full_pack)


def test_an_adapter_that_is_none_is_no_problem_of_the_base(
    store: PackStore, tmp_path: Path, base_file: Path
) -> None:
    adapter = tmp_path / "dr.gguf"
    adapter.write_bytes(b"GGUF")
    pack = store.find(write_pack(tmp_path / "own", base_file, [local(base_file)], adapter))
    store.pull(pack)
    with pytest.raises(AdapterError, match=r"dr\.gguf"):
        store.open(pack)


def test_an_adapter_of_another_role_is_refused(
    store: PackStore, full_pack: Pack, adapter: Path
) -> None:
    manifest = full_pack.folder / "pack.toml"
    content = manifest.read_text().replace(
        "[roles.deep_reasoner.adapter]", "[roles.intuitive_reasoner.adapter]"
    )
    manifest.write_text(content)
    with pytest.raises(AdapterError, match="made for deep_reasoner"):
        store.open(store.find(full_pack.folder))


def test_open_reports_several_problems_at_once(store: PackStore, full_pack: Pack) -> None:
    full_pack.base_path.write_bytes(b"GGUF")
    (full_pack.folder / "dr.gguf").write_bytes(b"GGUF")
    with pytest.raises(PackError, match="2 problems") as caught:
        store.open(full_pack)
    assert "4 bytes, expected" in str(caught.value)
    assert "dr.gguf" in str(caught.value)
    assert len(store.verify(full_pack)) == 2


def test_the_manifest_must_tell_the_architecture(store: PackStore, full_pack: Pack) -> None:
    manifest = full_pack.folder / "pack.toml"
    manifest.write_text(manifest.read_text().replace('"qwen2"', '"llama"'))
    with pytest.raises(PackError, match=r"'qwen2', the manifest of full says 'llama'"):
        store.open(store.find(full_pack.folder))


def test_remove_frees_the_base_and_keeps_the_folder(store: PackStore, full_pack: Pack) -> None:
    size_bytes = full_pack.base_path.stat().st_size
    removal = store.remove(full_pack)
    assert removal.freed_bytes == size_bytes
    assert not full_pack.is_present
    assert (full_pack.folder / "dr.gguf").is_file()
    assert store.remove(full_pack).freed_bytes == 0


def test_a_shared_base_stays(store: PackStore, full_pack: Pack, base_file: Path) -> None:
    write_pack(store.places.packs / "other", base_file, [local(base_file)])
    removal = store.remove(full_pack)
    assert (removal.freed_bytes, full_pack.is_present) == (0, True)
    assert "other uses it too" in removal.note
    assert store.remove(full_pack, force=True).freed_bytes > 0
    assert not full_pack.is_present


def test_a_base_of_another_name_is_another_file(
    store: PackStore, full_pack: Pack, base_file: Path
) -> None:
    manifest = write_pack(store.places.packs / "other", base_file, [local(base_file)]) / "pack.toml"
    manifest.write_text(manifest.read_text().replace('"base.gguf"', '"renamed.gguf"'))
    half = store.places.download(full_pack.manifest.base.sha256) / "half"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"GGUF")
    assert store.remove(full_pack).freed_bytes > 0
    assert not full_pack.is_present
    assert half.exists()  # the other pack goes on with it
