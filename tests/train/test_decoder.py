"""The fast decoder computes what transformers and PEFT compute: losses and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from random_examples import random_examples

from lorid_edge.train.descent.base_model import load_base
from lorid_edge.train.descent.batches import common_prefix_tokens, lay_out
from lorid_edge.train.descent.decoder import Decoder, is_supported
from lorid_edge.train.descent.plain_model import PlainModel
from lorid_edge.train.job import TokenExample
from lorid_edge.train.settings import LoraSettings

RANK = 4
CPU = torch.device("cpu")


def plain_loss(model: Any, examples: list[TokenExample]) -> torch.Tensor:
    """The sum over completion tokens, by transformers' own loss on one example at a time."""
    total = torch.zeros(())
    for example in examples:
        tokens = torch.tensor([example.prompt + example.completion])
        labels = tokens.clone()
        labels[:, : len(example.prompt)] = -100
        total = total + model(input_ids=tokens, labels=labels).loss * len(example.completion)
    return total


def strengthen(model: Decoder | PlainModel) -> None:
    """Give every pair values that change the output."""
    generator = torch.Generator().manual_seed(5)
    for _, a, b in model.pairs():
        a.copy_(torch.randn(a.shape, generator=generator) / a.shape[1] ** 0.5)
        b.copy_(torch.randn(b.shape, generator=generator) * 0.1)
    model.refresh()


def gradients_of(model: Decoder | PlainModel) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Gradients of A and B by path."""
    if isinstance(model, PlainModel):
        return {
            name.removeprefix("base_model.model."): (
                module.lora_A["default"].weight.grad,
                module.lora_B["default"].weight.grad,
            )
            for name, module in model._model.named_modules()
            if hasattr(module, "lora_A")
        }
    found = {}
    for stack in model.stacks():
        for part, columns in stack.columns():
            start = columns.start - stack.inputs
            found[part.name] = (
                stack.lora_a.grad[start : start + stack.rank],
                stack.lora_b.grad[part.rows],
            )
    return found


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj"), ("k_proj", "up_proj")])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_gradients_are_those_of_peft(
    bases: dict[str, Path], architecture: str, targets: Any, checkpointing: bool
) -> None:
    lora = LoraSettings(rank=RANK, alpha=8.0, targets=targets)
    examples = random_examples(5)
    plain = PlainModel(load_base(bases[architecture], torch.float32, CPU), lora, False)
    strengthen(plain)
    expected = plain_loss(plain._model, examples)
    expected.backward()

    base = load_base(bases[architecture], torch.float32, CPU)
    assert is_supported(base, lora, 512)
    decoder = Decoder(base, lora, checkpointing)
    strengthen(decoder)
    loss = decoder(lay_out(examples, common_prefix_tokens(examples)))
    loss.backward()

    assert_same(expected, plain, loss, decoder)


def test_long_examples_are_those_of_peft_too(bases: dict[str, Path]) -> None:
    tokens = tuple(range(3, 403))
    examples = [TokenExample(tokens[:count], tokens[50:250]) for count in (100, 150, 220)]
    lora = LoraSettings(rank=RANK, alpha=8.0)
    plain = PlainModel(load_base(bases["llama"], torch.float32, CPU), lora, False)
    decoder = Decoder(load_base(bases["llama"], torch.float32, CPU), lora, False)
    losses = []
    for model in (plain, decoder):
        strengthen(model)
        losses.append(model(lay_out(examples, 99)))
        losses[-1].backward()
    assert_same(losses[0], plain, losses[1], decoder)


def assert_same(
    expected: torch.Tensor, plain: PlainModel, loss: torch.Tensor, decoder: Decoder
) -> None:
    """The same losses, and gradients of every pair, up to rounding in float32."""
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    wanted, found = gradients_of(plain), gradients_of(decoder)
    assert found.keys() == wanted.keys()
    for name, pair in wanted.items():
        for side, (mine, theirs) in enumerate(zip(found[name], pair, strict=True)):
            error = (mine - theirs).norm() / theirs.norm()
            assert error < 1e-4, f"{name} {'AB'[side]}: {error}"
