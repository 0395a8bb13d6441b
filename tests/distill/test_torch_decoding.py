"""Rows decoded together say what each would alone, by the model's own code."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from lorid_edge.distill.packed_linear import PackedLinear, pack_linear_layers  # noqa: E402
from lorid_edge.distill.torch_decoding import Row, RowDecoder  # noqa: E402

END = 7
PREFIX = [1, 5, 9, 12, 3, 44, 17]
COLD = 1e-4  # as good as always the best token


def random_model(kind: str) -> Any:
    torch.manual_seed(3)
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.4,  # else all tokens are alike
    }
    if kind == "windowed":
        config = transformers.MistralConfig(**sizes, sliding_window=6)
        return transformers.MistralForCausalLM(config).eval()
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sizes)).eval()


def prompts(count: int) -> list[list[int]]:
    draw = random.Random(1)
    return [[draw.randrange(64) for _ in range(draw.randrange(1, 12))] for _ in range(count)]


def alone(model: Any, prompt: list[int], max_tokens: int) -> list[int]:
    """The best tokens one after the other, each from a pass over the whole text."""
    tokens: list[int] = []
    with torch.inference_mode():
        while len(tokens) < max_tokens:
            text = torch.tensor([[*PREFIX, *prompt, *tokens]])
            token = int(model(text).logits[0, -1].argmax())
            if token == END:
                break
            tokens.append(token)
    return tokens


@pytest.mark.parametrize("kind", ["grouped", "windowed"])
def test_rows_that_come_and_go_say_what_they_would_alone(kind: str) -> None:
    asked = prompts(9)
    limits = [3 + 11 * (n % 4) for n in range(len(asked))]
    expected = [
        alone(random_model(kind), prompt, limit)
        for prompt, limit in zip(asked, limits, strict=True)
    ]
    decoder = RowDecoder(random_model(kind), PREFIX, frozenset([END]), places=4)
    waiting = deque(
        Row(str(n), prompt, COLD, limit, random.Random(n))
        for n, (prompt, limit) in enumerate(zip(asked, limits, strict=True))
    )
    found: dict[str, Row] = {}
    while waiting or decoder.rows:
        beginning = min(2, decoder.free_places, len(waiting))
        ended = decoder.step([waiting.popleft() for _ in range(beginning)])
        found |= {row.key: row for row in ended}
    assert [found[str(n)].tokens for n in range(len(asked))] == expected
    assert [found[str(n)].is_cut for n in range(len(asked))] == [
        len(tokens) == limit for tokens, limit in zip(expected, limits, strict=True)
    ]
    assert len({tuple(tokens) for tokens in expected}) > 4  # else the test could not fail


def test_seeds_decide_what_is_drawn() -> None:
    def draw(seeds: list[int]) -> list[list[int]]:
        decoder = RowDecoder(random_model("grouped"), PREFIX, frozenset([END]), places=4)
        rows = [Row(str(seed), [2, 3], 3.0, 12, random.Random(seed)) for seed in seeds]
        decoder.step(rows)
        while decoder.rows:
            decoder.step([])
        return [row.tokens for row in rows]

    first, second = draw([1, 2])
    assert first != second
    assert draw([2, 1]) == [second, first]


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 products on this CPU"
)
@pytest.mark.parametrize("rows", [1, 7, 300])
@pytest.mark.parametrize("has_bias", [True, False])
def test_packed_layers_compute_what_plain_ones_do(rows: int, has_bias: bool) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(96, 160, bias=has_bias).bfloat16()
    inputs = torch.randn(2, rows, 96, dtype=torch.bfloat16)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(plain)(inputs), plain(inputs), atol=0.02, rtol=0.02)


def test_only_bfloat16_layers_are_packed() -> None:
    model = random_model("grouped")
    pack_linear_layers(model)
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
    pack_linear_layers(model.bfloat16())
    packed = sum(isinstance(module, PackedLinear) for module in model.modules())
    assert packed == (3 * 7 + 1 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else 0)
