"""From trained adapters to a pack: converted, hashed, written into `pack.toml`.

The pack is made in the run's folder first, where it can be tried; `install_pack` then puts it in
the place of the one that the recipe names.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.output import Progress, new_file
from lorid_edge.packs.checksums import sha256_of
from lorid_edge.packs.manifest import MANIFEST_NAME, PackManifest
from lorid_edge.packs.store import Pack
from lorid_edge.roles import Role
from lorid_edge.train.plan import Plan
from lorid_edge.train.run import RunFolder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def adapter_file(role: Role) -> str:
    """The name of a role's adapter in a pack."""
    return f"{role.value}.gguf"


def build_pack(run: RunFolder, plan: Plan, on_progress: Progress | None = None) -> Path | None:
    """Convert the finished adapters and make a pack of them in the run's folder.

    Returns:
        its folder; None where the recipe has no pack. Then each role's adapter stands in the
        role's own folder, as GGUF too if the base is one.

    Raises:
        AdapterError, ConversionError: an adapter cannot be converted or written.
    """
    pack = plan.base.pack
    files = {role: _convert(run, plan, role, on_progress) for role in run.finished()}
    if pack is None:
        return None
    run.pack.mkdir(exist_ok=True)
    for role in Role:
        source = files.get(role) or pack.adapter_path(role)
        if source is not None:
            with new_file(run.pack / source.name, force=True) as temporary:
                shutil.copyfile(source, temporary)
    manifest = (pack.folder / MANIFEST_NAME).read_text("utf-8")
    trained = {role: path for role, path in files.items() if path is not None}
    text = with_adapters(manifest, trained, keeps_examples=plan.recipe.pack_examples)
    _write_manifest(run.pack, text)
    return run.pack


def install_pack(built: Path, pack: Pack, roles: Iterable[Role], *, keeps_examples: bool) -> None:
    """Put the adapters of `roles` from a built pack into `pack`, the manifest last.

    `keeps_examples` as in `with_adapters`.

    Raises ConversionError if its folder cannot be written.
    """
    adapters = {role: built / adapter_file(role) for role in roles}
    for source in adapters.values():
        with new_file(pack.folder / source.name, force=True) as temporary:
            shutil.copyfile(source, temporary)
    manifest = (pack.folder / MANIFEST_NAME).read_text("utf-8")
    _write_manifest(pack.folder, with_adapters(manifest, adapters, keeps_examples=keeps_examples))


def with_adapters(manifest: str, adapters: dict[Role, Path], *, keeps_examples: bool) -> str:
    """A `pack.toml` with the adapters of these roles, its comments and all else as they were.

    Args:
        keeps_examples: whether the roles were trained with the examples that their prompts show;
            else these are taken out.
    """
    import tomlkit

    document: Any = tomlkit.parse(manifest)
    for role, path in adapters.items():
        settings = document["roles"][role.value]
        if not keeps_examples:
            settings.pop("examples", None)
        adapter = tomlkit.table()
        adapter["file"] = path.name
        adapter["sha256"] = sha256_of(path)
        adapter.add(tomlkit.nl())
        settings["adapter"] = adapter
    return tomlkit.dumps(document)


def _convert(run: RunFolder, plan: Plan, role: Role, on_progress: Progress | None) -> Path | None:
    """The role's adapter as GGUF; None where the base is a folder."""
    if plan.base.path.is_dir():
        return None
    path = run.role(role) / adapter_file(role)
    kind = plan.recipe.output.type
    convert_lora(
        LoraConversion(run.adapter(role), plan.base.path, path, kind, force=True), on_progress
    )
    return path


def _write_manifest(folder: Path, text: str) -> None:
    PackManifest.model_validate(tomllib.loads(text))
    with new_file(folder / MANIFEST_NAME, force=True) as temporary:
        temporary.write_text(text, "utf-8")
