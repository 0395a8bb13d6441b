"""The bounded sampler against llama.cpp's own chain over the whole vocabulary."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from lorid_edge.engine import native
from lorid_edge.engine.sampling import Sampler, SamplingSettings

VOCABULARY = 20_000
SETTINGS = [
    SamplingSettings(0.7, 64, 0.95),
    SamplingSettings(1.5, 0, 0.9),
    SamplingSettings(1.0, 40, 1.0),
    SamplingSettings(0.2, 5, 0.5),
]


def whole_vocabulary_draws(
    rows: list[np.ndarray], settings: SamplingSettings, seed: int
) -> list[int]:
    """The same chain, applied by llama.cpp to every token."""
    binding = native.load()
    chain = binding.llama_sampler_chain_init(binding.llama_sampler_chain_default_params())
    binding.llama_sampler_chain_add(chain, binding.llama_sampler_init_temp(settings.temperature))
    if settings.top_k:
        binding.llama_sampler_chain_add(chain, binding.llama_sampler_init_top_k(settings.top_k))
    if settings.top_p < 1:
        binding.llama_sampler_chain_add(chain, binding.llama_sampler_init_top_p(settings.top_p, 1))
    binding.llama_sampler_chain_add(chain, binding.llama_sampler_init_dist(seed))
    draws = []
    for row in rows:
        data = (binding.llama_token_data * len(row))()
        for token, logit in enumerate(row):
            data[token].id, data[token].logit, data[token].p = token, logit, 0.0
        array = binding.llama_token_data_array(data, len(row), -1, False)
        binding.llama_sampler_apply(chain, ctypes.byref(array))
        draws.append(array.data[array.selected].id)
    binding.llama_sampler_free(chain)
    return draws


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_draws_equal_those_over_the_whole_vocabulary(settings: SamplingSettings) -> None:
    random = np.random.default_rng(3)
    rows = [
        random.normal(0, spread, VOCABULARY).astype(np.float32)
        for spread in (2.0, 3.0, 5.0, 8.0) * 5
    ]
    sampler = Sampler(settings, seed=11)
    draws = [sampler.sample(row) for row in rows]
    sampler.close()
    assert draws == whole_vocabulary_draws(rows, settings, seed=11)


def test_temperature_zero_is_the_likeliest() -> None:
    row = np.random.default_rng(0).normal(0, 1, VOCABULARY).astype(np.float32)
    sampler = Sampler(SamplingSettings(temperature=0), seed=1)
    assert sampler.sample(row) == int(np.argmax(row))


def test_banned_tokens_never_come_and_the_logits_stay_as_they_are() -> None:
    row = np.zeros(100, dtype=np.float32)
    row[:5] = 30.0
    before = row.copy()
    banned = np.array([0, 1, 2, 3], dtype=np.int32)
    for temperature in (0.0, 0.7):
        sampler = Sampler(SamplingSettings(temperature=temperature), seed=1)
        assert {sampler.sample(row, banned) for _ in range(20)} == {4}
        sampler.close()
    assert (row == before).all()


def test_frequencies_follow_the_probabilities() -> None:
    """4,000 draws of p = 0.5, 0.25, 0.25: a false alarm is rarer than one in a million."""
    row = np.full(1000, -50.0, dtype=np.float32)
    row[[3, 7, 9]] = np.log([0.5, 0.25, 0.25])
    sampler = Sampler(SamplingSettings(1.0, 0, 1.0), seed=5)
    draws = [sampler.sample(row) for _ in range(4000)]
    sampler.close()
    assert set(draws) == {3, 7, 9}
    assert abs(draws.count(3) / 4000 - 0.5) < 0.04
    assert abs(draws.count(7) / 4000 - 0.25) < 0.035


@pytest.mark.parametrize("temperature", [0.0, 0.2, 0.7, 1.5])
def test_the_entropy_is_the_models_own_whatever_the_temperature(temperature: float) -> None:
    random = np.random.default_rng(4)
    sampler = Sampler(SamplingSettings(temperature), seed=1)
    for spread in (0.1, 2.0, 5.0, 12.0):
        row = random.normal(0, spread, VOCABULARY).astype(np.float32)
        sampler.sample(row)
        assert sampler.entropy_nats == pytest.approx(entropy(softmax(row.astype(float))), abs=0.01)
    sampler.close()


def test_a_sure_model_has_no_entropy_and_a_clueless_one_all_of_it() -> None:
    sampler = Sampler(SamplingSettings(), seed=1)
    sure = np.zeros(VOCABULARY, dtype=np.float32)
    sure[7] = 50.0
    sampler.sample(sure)
    assert sampler.entropy_nats == pytest.approx(0, abs=1e-6)
    sampler.sample(np.full(VOCABULARY, 3.0, dtype=np.float32))
    assert sampler.entropy_nats == pytest.approx(np.log(VOCABULARY), rel=1e-5)
    sampler.close()
