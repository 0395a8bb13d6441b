"""Fixtures that several test modules share. No test writes to the user's own folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lorid_edge.engine.model import Model

# Replies of a few tokens, so that a whole problem takes less than a second on the tiny base.
BRIEF_PACK = r"""
schema = 1
name = "brief"
version = "0.1.0"
licence = "Apache-2.0"
description = "The tiny base, made to reply briefly"

[base]
file = "smollm2-135m-instruct-q4_1.gguf"
bytes = 98362432
sha256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
architecture = "llama"
licence = "Apache-2.0"

[[base.sources]]
kind = "local"
path = "nowhere.gguf"

[prompt]
system = "You give short answers."

[roles.intuitive_reasoner]
prompt = "{question}"
max_tokens = 24
examples = [
    { question = "What is 2+2?", reply = 'The answer is \boxed{4}.' },
    { question = "What is 3*5?", reply = 'The answer is \boxed{15}.' },
]

[roles.knowledge_generator]
prompt = "Rules for: {question}"
max_tokens = 12

[roles.deep_reasoner]
prompt = "{question} Rules: {knowledge}"
max_tokens = 24
examples = [
    { question = "What is 2+2?", knowledge = "Add.", reply = 'The answer is \boxed{4}.' },
    { question = "What is 3*5?", knowledge = "Multiply.", reply = 'The answer is \boxed{15}.' },
]

[answer]
format = "boxed"

[context]
sequence_tokens = 256
"""


@pytest.fixture(scope="session")
def tiny_base() -> Path:
    """The verified base of the pack tiny: the user's if it is there, else kept in a cache."""
    from platformdirs import user_cache_path

    from lorid_edge.errors import LoridError
    from lorid_edge.packs.places import HOME_VARIABLE
    from lorid_edge.packs.store import PackStore

    own = os.environ.get(HOME_VARIABLE)
    if own:
        pack = PackStore(Path(own)).find("tiny")
        if pack.is_present:
            return pack.base_path
    store = PackStore(user_cache_path("lorid-edge-tests", appauthor=False))
    try:
        return store.pull(store.find("tiny"))
    except LoridError as error:
        pytest.skip(f"the base of the pack tiny is needed and cannot be fetched: {error}")


@pytest.fixture(scope="session")
def install_base(tiny_base: Path) -> Callable[[Path], Path]:
    """Links the base of the pack tiny into a home and returns where it lies there."""

    def install(home: Path) -> Path:
        target = home / "bases" / tiny_base.name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(tiny_base)
        except OSError:
            target.symlink_to(tiny_base)
        return target

    return install


@pytest.fixture(scope="session")
def tiny_home(
    install_base: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A home of its own for the tests, with the base of the pack tiny."""
    home = tmp_path_factory.mktemp("home")
    install_base(home)
    return home


@pytest.fixture(scope="session")
def brief_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pack on the tiny base whose replies take a few tokens."""
    folder = tmp_path_factory.mktemp("packs") / "brief"
    folder.mkdir()
    (folder / "pack.toml").write_text(BRIEF_PACK, "utf-8")
    return folder


@pytest.fixture(scope="session")
def write_adapter(tiny_base: Path) -> Callable[[Path, int], str]:
    """Writes a random GGUF LoRA for the tiny base and returns its SHA-256.

    Rank 4 on the q, k, v, o and feed-forward matrices of every layer, large enough to change most
    next tokens.
    """
    import hashlib

    import gguf
    import numpy as np

    from lorid_edge.formats.base_model import check_base

    base = check_base(tiny_base)
    suffixes = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    matrices = {
        name: tensor.shape
        for name, tensor in base.tensors.items()
        if name.startswith("blk.") and name.split(".")[2] in suffixes
    }

    def write(path: Path, seed: int) -> str:
        random = np.random.default_rng(seed)
        writer = gguf.GGUFWriter(path, base.architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", 4.0)
        for name, (inputs, outputs) in matrices.items():
            a = random.normal(0, 0.08, (4, inputs)).astype(np.float32)
            b = random.normal(0, 0.08, (outputs, 4)).astype(np.float32)
            writer.add_tensor(f"{name}.lora_a", a)
            writer.add_tensor(f"{name}.lora_b", b)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return hashlib.sha256(path.read_bytes()).hexdigest()

    return write


@pytest.fixture(scope="session")
def tiny_model(tiny_base: Path) -> Iterator[Model]:
    """The tiny base in memory, for all tests that need no adapters."""
    from lorid_edge.engine.model import Model

    model = Model(tiny_base)
    yield model
    model.close()
