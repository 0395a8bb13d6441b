"""Adapters put into `pack.toml`: only what changes is changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from small_pack import PACK

from lorid_edge.packs.manifest import MANIFEST_NAME, load_manifest
from lorid_edge.packs.store import PackStore, shipped_folder
from lorid_edge.roles import Role
from lorid_edge.train.finish import adapter_file, install_pack, with_adapters

pytest.importorskip("tomlkit")


@pytest.mark.parametrize("pack", ["tiny", "small", "standard"])
@pytest.mark.parametrize("keeps_examples", [False, True])
def test_a_shipped_manifest_takes_adapters(pack: str, keeps_examples: bool, tmp_path: Path) -> None:
    original = (shipped_folder() / pack / MANIFEST_NAME).read_text("utf-8")
    before = load_manifest(shipped_folder() / pack)
    adapters = {role: tmp_path / f"{role.value}.gguf" for role in Role}
    for role, path in adapters.items():
        path.write_bytes(role.value.encode())
    text = with_adapters(original, adapters, keeps_examples=keeps_examples)
    (tmp_path / MANIFEST_NAME).write_text(text, "utf-8")
    after = load_manifest(tmp_path)
    for role, path in adapters.items():
        adapter = after.roles[role].adapter
        assert adapter is not None
        assert adapter.file == path.name
        assert adapter.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert after.roles[role].prompt == before.roles[role].prompt
        wanted = before.roles[role].examples if keeps_examples else ()
        assert after.roles[role].examples == wanted
    assert after.model_copy(update={"roles": before.roles}) == before
    comments = [line for line in original.splitlines() if line.startswith("#")]
    assert [line for line in text.splitlines() if line.startswith("#")] == comments
    # the same again changes nothing
    assert with_adapters(text, adapters, keeps_examples=keeps_examples) == text


@pytest.mark.parametrize("keeps_examples", [False, True])
def test_installing_keeps_the_examples_of_roles_trained_with_them(
    keeps_examples: bool, tmp_path: Path
) -> None:
    pack, built = tmp_path / "toy", tmp_path / "built"
    for folder in (pack, built):
        folder.mkdir()
    text = PACK.format(bytes=1, sha256="0" * 64)  # the intuitive reasoner alone has an example
    (pack / MANIFEST_NAME).write_text(text, "utf-8")
    for role in Role:
        (built / adapter_file(role)).write_bytes(role.value.encode())
    found = PackStore(tmp_path / "home").find(pack)
    install_pack(built, found, list(Role), keeps_examples=keeps_examples)
    roles = load_manifest(pack).roles
    assert len(roles[Role.INTUITIVE_REASONER].examples) == keeps_examples
    assert all(roles[role].adapter is not None for role in Role)
