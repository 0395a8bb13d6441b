"""`lorid-edge packs`: what packs there are, fetching, checking and removing them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorid_edge.errors import LoridError, PackError

from . import streams

if TYPE_CHECKING:
    from lorid_edge.packs.store import Pack

PROBLEMS_FOUND = 1

app = typer.Typer(
    help="List, fetch, check and remove packs.\n\nExample: lorid-edge packs pull small",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Names = Annotated[list[str], typer.Argument(help="Names of packs, or paths of their folders.")]
Name = Annotated[str, typer.Argument(help="Name of a pack, or the path of its folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command("list")
def list_packs(as_json: AsJson = False) -> None:
    """List the packs known and whether they are here.

    Example: lorid-edge packs list
    """
    from lorid_edge.packs.store import PackStore

    from .fetching import megabytes

    store = PackStore()
    rows = [("NAME", "SIZE", "PRESENT", "LICENCE", "DESCRIPTION")]
    entries: list[dict[str, Any]] = []
    for name in store.known():
        try:
            pack = store.find(name)
        except PackError as error:
            streams.note(f"lorid-edge: {error}")
            entries.append({"name": name, "problem": str(error)})
            continue
        manifest, present = pack.manifest, "yes" if pack.is_present else "no"
        size = megabytes(manifest.base.bytes)
        rows.append((name, size, present, manifest.licence, manifest.description))
        entries.append(_description(pack))
    if as_json:
        _print_json({"packs": entries})
        return
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        streams.result("  ".join([*cells, row[4]]))


@app.command()
def pull(names: Names, as_json: AsJson = False) -> None:
    """Fetch packs. What broke off goes on where it was; all is checked by SHA-256.

    Example: lorid-edge packs pull small
    """
    from lorid_edge.packs.store import PackStore

    from .fetching import announcement, fetch

    store = PackStore()
    fetched = []
    for pack in [store.find(name) for name in names]:
        if not pack.is_present:
            streams.note(announcement(pack))
        path = fetch(store, pack)
        fetched.append({"name": pack.name, "path": str(path)})
        if not as_json:
            streams.result(f"{pack.name} is ready: {path}")
    if as_json:
        _print_json({"packs": fetched})


@app.command()
def info(name: Name, as_json: AsJson = False) -> None:
    """Tell what a pack consists of. Also where its base comes from, and what was measured.

    Example: lorid-edge packs info standard
    """
    from lorid_edge.packs.store import PackStore

    description = _description(PackStore().find(name))
    if as_json:
        _print_json(description)
        return
    base = description["base"]
    streams.result(f"{description['name']} {description['version']}: {description['description']}")
    streams.result(f"licence   {description['licence']}; base: {base['licence']}")
    streams.result(f"folder    {description['folder']}")
    streams.result(f"base      {base['file']}, {base['bytes']:,} bytes, {base['architecture']}")
    streams.result(f"sha256    {base['sha256']}")
    streams.result(f"present   {'yes, ' + base['path'] if description['present'] else 'no'}")
    for source in base["sources"]:
        streams.result(f"source    {source}")
    for role, adapter in description["adapters"].items():
        streams.result(f"{role}: {adapter or 'no adapter, the bare base with its prompt'}")
    for measured in description["results"]:
        streams.result(
            f"result    {measured['dataset']}, {measured['policy']}: "
            f"{measured['accuracy_percent']} % ({measured['low_percent']} to "
            f"{measured['high_percent']}) of {measured['problems']}; {measured['command']}"
        )


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Packs to check; all that are here if none is given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read and hash every file again. Exit code 1 if something is wrong.

    Example: lorid-edge packs verify small
    """
    from lorid_edge.packs.store import PackStore

    store = PackStore()
    reports: dict[str, list[str]] = {}
    for name in names or store.known():
        try:
            pack = store.find(name)
        except PackError as error:
            reports[name] = [str(error)]
            continue
        if names or pack.base_path.exists():
            reports[name] = store.verify(pack)
    if as_json:
        entries = [{"name": name, "problems": found} for name, found in reports.items()]
        _print_json({"ok": not any(reports.values()), "packs": entries})
    else:
        for name, problems in reports.items():
            if not problems:
                streams.result(f"{name}: all files are as they should be")
            for problem in problems:
                streams.note(f"{name}: {problem}")
        if not reports:
            streams.note("No pack is here. To fetch one: lorid-edge packs pull small")
    if any(reports.values()):
        raise typer.Exit(PROBLEMS_FOUND)


@app.command()
def remove(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Even if another pack uses the same base.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the base of a pack. Its unfinished download too, never your own folders.

    Example: lorid-edge packs remove small --yes
    """
    from lorid_edge.packs.store import PackStore

    store = PackStore()
    pack = store.find(name)
    question = f"Delete {pack.base_path}?"
    if not yes and pack.base_path.exists():
        if not streams.can_ask():
            raise LoridError(f"Not deleted: {pack.base_path}. Say --yes to delete it unasked.")
        if not streams.confirm(question):
            raise LoridError("Nothing was deleted.")
    removal = store.remove(pack, force=force)
    if as_json:
        _print_json({"name": pack.name, "freed_bytes": removal.freed_bytes, "note": removal.note})
    else:
        streams.result(removal.note)


def _description(pack: Pack) -> dict[str, Any]:
    from lorid_edge.packs.sources import describe
    from lorid_edge.roles import Role

    manifest, base = pack.manifest, pack.manifest.base
    adapters = {role.value: manifest.roles[role].adapter for role in Role}
    return {
        "name": pack.reference,
        "version": manifest.version,
        "licence": manifest.licence,
        "description": manifest.description,
        "folder": str(pack.folder),
        "present": pack.is_present,
        "base": {
            "file": base.file,
            "bytes": base.bytes,
            "sha256": base.sha256,
            "architecture": base.architecture,
            "licence": base.licence,
            "path": str(pack.base_path),
            "sources": [describe(source) for source in base.sources],
        },
        "adapters": {
            role: None if adapter is None else adapter.file for role, adapter in adapters.items()
        },
        "results": [result.model_dump() for result in manifest.results],
    }


def _print_json(content: dict[str, Any]) -> None:
    streams.json_result(json.dumps({"schema": 1, **content}, ensure_ascii=False))
