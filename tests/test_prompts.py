"""What is told of prompts before there is a tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorid_edge.engine.model import Model
from lorid_edge.loop.prompts import RolePrompts, estimate_fixed_tokens
from lorid_edge.packs.manifest import load_manifest
from lorid_edge.roles import Role

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize("pack", ["models/tiny", "benchmarks/bare_tiny"])
def test_the_fixed_part_of_a_prompt_is_never_longer_than_estimated(
    tiny_model: Model, pack: str
) -> None:
    """By the estimate memory is asked for; twice as much would refuse what fits."""
    manifest = load_manifest(PROJECT / pack)
    prompts = RolePrompts(tiny_model, manifest)
    for role in Role:
        tokens = len(prompts.fixed(role))
        estimate = estimate_fixed_tokens(manifest.prompt.system, manifest.roles[role])
        assert tokens <= estimate <= 2 * tokens + 100
