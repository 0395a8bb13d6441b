"""A pack whose three roles all have adapters, as GGUF and as PEFT folders of the same values.

    python benchmarks/peers/adapted_pack.py small

A role without an adapter gets a random one: rank 16 on all linear layers, Q8_0, so weak that the
text stays sensible. It costs what a trained one costs. The pack's own get a rank that llama.cpp is
fast with, as ours gives them when it loads them: no peer shall lose by an odd rank. PEFT folders
are written from the GGUF files, rounded weights and all, so that every program computes with the
same numbers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # for random_adapter, when run as a script

from random_adapter import RandomAdapter, write_random_adapter

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.peft_export import write_peft_folder
from lorid_edge.formats.adapter_padding import RANK_STEP, write_padded
from lorid_edge.formats.base_model import check_base
from lorid_edge.formats.gguf import GgufFile
from lorid_edge.packs.manifest import MANIFEST_NAME
from lorid_edge.packs.store import Pack, PackStore
from lorid_edge.roles import Role
from lorid_edge.train.finish import adapter_file, with_adapters

FOLDER = Path(__file__).parents[2] / "build" / "peers" / "packs"
PEFT_FOLDER = "peft"

STRENGTH = 0.02
"""Root mean square of what an adapter adds to a module's output, for inputs of size 1."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pack", help="a pack's name or folder")
    print(make_adapted_pack(parser.parse_args().pack, FOLDER))


def make_adapted_pack(name: str, parent: Path) -> Path:
    """The folder of the pack with adapters below `parent`, made if it is not there yet.

    An existing one is taken if its manifest is what it would be made with.
    """
    store = PackStore()
    pack = store.find(name)
    store.pull(pack)
    folder = parent / pack.name
    made_with = {"strength": STRENGTH, "rank_step": RANK_STEP}
    note = json.dumps({"manifest": pack.manifest.model_dump(mode="json"), **made_with})
    made_from = folder / "made_from.json"
    if made_from.is_file() and made_from.read_text("utf-8") == note:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = check_base(pack.base_path)
    adapters = {role: _adapter(pack, role, base, folder) for role in Role}
    for role, path in adapters.items():
        write_peft_folder(path, base, folder / PEFT_FOLDER / role.value)
    manifest = (pack.folder / MANIFEST_NAME).read_text("utf-8")
    text = with_adapters(manifest, adapters, keeps_examples=True)
    (folder / MANIFEST_NAME).write_text(text, "utf-8")
    made_from.write_text(note, "utf-8")  # last: an interrupted folder is made again
    return folder


def _adapter(pack: Pack, role: Role, base: GgufFile, folder: Path) -> Path:
    """The pack's own adapter with its rank filled up, or else a random one."""
    target = folder / adapter_file(role)
    own = pack.adapter_path(role)
    if own is not None:
        if not write_padded(own, target):
            shutil.copyfile(own, target)
        return target
    drawn = RandomAdapter(strength=STRENGTH, seed=list(Role).index(role))
    peft = write_random_adapter(drawn, base, folder / "drawn" / role.value)
    convert_lora(LoraConversion(peft, pack.base_path, target, "q8_0"))
    shutil.rmtree(peft)
    return target


if __name__ == "__main__":
    main()
