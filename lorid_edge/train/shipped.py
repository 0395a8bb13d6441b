"""Recipes by name: the packs' own (`tiny/cpu`) and the paper's (`paper/mistral-7b`)."""

from __future__ import annotations

from pathlib import Path

from lorid_edge.packs.places import Places
from lorid_edge.packs.store import shipped_folder
from lorid_edge.train.recipe import RecipeError

_OWN = Path(__file__).parent / "recipes"


def known_recipes() -> dict[str, Path]:
    """The names of all recipes that are shipped or lie in packs of the user, and their files."""
    found: dict[str, Path] = {}
    for packs in (Places.default().packs, shipped_folder()):
        for path in sorted(packs.glob("*/recipes/*.toml")):
            found[f"{path.parents[1].name}/{path.stem}"] = path
    for path in sorted(_OWN.glob("*/*.toml")):
        found[f"{path.parent.name}/{path.stem}"] = path
    return dict(sorted(found.items()))


def find_recipe(name_or_path: str) -> Path:
    """The recipe of that name, else the file at that path. Raises RecipeError if there is none."""
    known = known_recipes()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise RecipeError(
            f"unknown recipe {name_or_path!r}; known are {', '.join(known)}, "
            "and the path of a TOML file works too"
        )
    return path
