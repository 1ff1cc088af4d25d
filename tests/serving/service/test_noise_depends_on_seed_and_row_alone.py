"""The same seed and row give the same noise, on every server, however the rows were asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latens_serving.service.noise import (
    NOISE_GENERATOR,
    Stream,
    draw_posterior,
    draw_prior,
    standard_normal,
)

SEEDS = st.integers(0, 2**64 - 1)
_MASK = 2**64 - 1


def philox_4x64(key: tuple[int, int], counter: list[int]) -> list[int]:
    """Philox 4x64-10 as Salmon et al. (2011) give it, one counter at a time."""
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * counter[0], 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * counter[2], 2**64)
        counter = [high1 ^ counter[1] ^ k0, low1, high0 ^ counter[3] ^ k1, low0]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _MASK, (k1 + 0xBB67AE8584CAA73B) & _MASK
    return counter


def reference_row(seed: int, stream: Stream, row: int, size: int) -> list[float]:
    """One row by the definition in `latens_serving.service.noise`, in plain Python."""
    blocks = -(-size // 4)
    values: list[float] = []
    for block in range(row * blocks + 1, (row + 1) * blocks + 1):
        words = philox_4x64((seed, int(stream)), [(block >> 64 * i) & _MASK for i in range(4)])
        uniform = [(word >> 11) * 2.0**-53 for word in words]
        for u, v in (uniform[:2], uniform[2:]):
            radius = math.sqrt(-2 * math.log1p(-u))
            values += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
    return values[:size]


def test_the_generator_is_the_one_that_its_name_says() -> None:
    assert NOISE_GENERATOR == "philox4x64-10/box-muller/1"
    for seed, row, size in [(0, 0, 2), (7, 3, 20), (2**64 - 1, 2**64 - 1, 7), (123456789, 41, 1)]:
        for stream in Stream:
            np.testing.assert_allclose(
                standard_normal(seed, stream, row, 1, size)[0],
                reference_row(seed, stream, row, size),
                rtol=0,
                atol=1e-6,
            )


def test_the_noise_has_known_values() -> None:
    golden = [
        [-0.5702505, 1.9461275, -0.8648583, 0.5846463, -0.1368510, -0.3927141],
        [0.0386965, -0.1640698, -1.8584944, -0.3922647, 0.6047729, -0.8951141],
    ]
    np.testing.assert_allclose(standard_normal(7, Stream.PRIOR, 0, 2, 6), golden, atol=1e-6)


@settings(max_examples=50)
@given(SEEDS, st.integers(0, 2**64 - 1), st.integers(1, 12), st.integers(1, 30), st.data())
def test_the_noise_of_a_row_does_not_depend_on_the_split(
    seed: int, first: int, rows: int, size: int, data: st.DataObject
) -> None:
    whole = standard_normal(seed, Stream.PRIOR, first, rows, size)
    cut = data.draw(st.integers(0, rows - 1))
    rest = standard_normal(seed, Stream.PRIOR, first + cut, rows - cut, size)
    np.testing.assert_array_equal(whole[cut:], rest)


def test_the_uses_of_a_seed_do_not_share_noise() -> None:
    prior = standard_normal(5, Stream.PRIOR, 0, 1000, 8)
    posterior = standard_normal(5, Stream.POSTERIOR, 0, 1000, 8)
    assert abs(np.corrcoef(prior.ravel(), posterior.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_the_noise_is_standard_normal_and_independent(size: int) -> None:
    rows = 400_000 // size
    noise = standard_normal(2026, Stream.PRIOR, 0, rows, size).astype(np.float64)
    values = np.sort(noise.ravel())
    normal_cdf = np.vectorize(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2))))
    at = values[:: max(1, len(values) // 2000)]
    steps = np.arange(len(values))[:: max(1, len(values) // 2000)] / len(values)
    # Kolmogorov and Smirnov; 1.95 / sqrt(n) is passed once in a thousand by chance.
    assert np.abs(normal_cdf(at) - steps).max() < 1.95 / math.sqrt(len(values))
    assert abs(values.mean()) < 4 / math.sqrt(len(values))
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / len(values))
    if size > 1:
        off_diagonal = np.corrcoef(noise.T) - np.eye(size)
        assert np.abs(off_diagonal).max() < 5 / math.sqrt(rows)
    serial = np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]
    assert abs(serial) < 5 / math.sqrt(rows)


def test_neighbouring_seeds_are_independent() -> None:
    firsts = np.array([standard_normal(seed, Stream.PRIOR, 0, 1, 4)[0] for seed in range(4000)])
    assert np.abs(firsts.mean(axis=0)).max() < 4 / math.sqrt(len(firsts))
    assert abs(np.corrcoef(firsts[:-1, 0], firsts[1:, 0])[0, 1]) < 5 / math.sqrt(len(firsts))


def test_a_draw_has_the_posteriors_mean_and_spread() -> None:
    mean = np.full((50_000, 2), 3.0, np.float32)
    log_var = np.tile(np.log(np.array([0.25, 4.0], np.float32)), (50_000, 1))
    drawn = draw_posterior(mean, log_var, seed=1, first_row=0)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn.mean(axis=0), [3, 3], atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), [0.5, 2.0], rtol=0.02)


def test_a_deterministic_posterior_draws_its_mean() -> None:
    mean = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(draw_posterior(mean, None, seed=1, first_row=0), mean)


def test_temperature_scales_the_prior_and_zero_is_its_mean() -> None:
    args: Any = {"seed": 3, "first_row": 0, "rows": 5}
    at_one = draw_prior((2, 3), temperature=1.0, **args)
    assert at_one.shape == (5, 2, 3)
    np.testing.assert_array_equal(draw_prior((2, 3), temperature=2.0, **args), 2 * at_one)
    np.testing.assert_array_equal(draw_prior((2, 3), temperature=0.0, **args), 0 * at_one)
