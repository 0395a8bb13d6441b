"""A pack on a small random base, its data and a recipe: a whole training in seconds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorid_edge.packs.store import PackStore

PACK = """
schema = 1
name = "toy"
version = "0.1.0"
licence = "Apache-2.0"
description = "A random base"

[base]
file = "toy.gguf"
bytes = {bytes}
sha256 = "{sha256}"
architecture = "llama"
licence = "Apache-2.0"
sources = [{{ kind = "local", path = "nowhere.gguf" }}]

[prompt]
system = ""

# This comment stays.
[roles.intuitive_reasoner]
prompt = "{{question}}"
max_tokens = 16

[[roles.intuitive_reasoner.examples]]
question = "What is 2+2?"
reply = 'The answer is \\\\boxed{{4}}.'

[roles.knowledge_generator]
prompt = "Rules for: {{question}}"
max_tokens = 16

[roles.deep_reasoner]  # this one, too
prompt = "{{question}} Rules: {{knowledge}}"
max_tokens = 16

[answer]
format = "boxed"

[context]
sequence_tokens = 128
"""

RECIPE = """
name = "toy-brief"
description = "Seconds on any machine"
pack = "../toy"

[data]
reasoning = ["problems.jsonl"]
knowledge = ["problems.jsonl"]

[lora]
rank = 4
alpha = 8

[training]
batch_examples = 4
max_tokens = 128
learning_rate = 1e-2
device = "cpu"
dtype = "float32"

[roles.deep_reasoner]
start_from = "intuitive_reasoner"

[output]
licence = "CC0-1.0"
"""


@dataclass(frozen=True)
class Workshop:
    """Where everything lies: the home, the pack, the recipe and its data."""

    home: Path
    pack: Path
    recipe: Path
    data: Path

    @property
    def store(self) -> PackStore:
        return PackStore(self.home)

    def change(self, old: str, new: str) -> None:
        """Change the recipe."""
        text = self.recipe.read_text("utf-8")
        assert old in text
        self.recipe.write_text(text.replace(old, new), "utf-8")


def make_workshop(folder: Path, base: Path) -> Workshop:
    """Write all of it below `folder`."""
    content = base.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    bases = folder / "home" / "bases"
    bases.mkdir(parents=True)
    (bases / f"{sha256[:12]}-toy.gguf").write_bytes(content)
    pack = folder / "toy"
    pack.mkdir()
    (pack / "pack.toml").write_text(PACK.format(bytes=len(content), sha256=sha256), "utf-8")
    recipes = folder / "recipes"
    recipes.mkdir()
    (recipes / "brief.toml").write_text(RECIPE, "utf-8")
    write_lines(recipes / "problems.jsonl", [problem(number) for number in range(16)])
    return Workshop(folder / "home", pack, recipes / "brief.toml", recipes / "problems.jsonl")


def problem(number: int) -> dict[str, Any]:
    """A problem of its own, with rationale and knowledge."""
    return {
        "question": f"Ann has {number} eggs and buys 2. How many has she?",
        "rationale": f"She has {number} + 2 = {number + 2} eggs.",
        "answer": str(number + 2),
        "knowledge": ["Add what is bought to what is there."],
    }


def write_lines(path: Path, records: list[Any]) -> None:
    """JSON lines; a text is written as it stands."""
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
