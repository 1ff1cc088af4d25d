"""A score's error and its effective samples, where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from latens_serving.bundle import likelihood

IMAGES, SAMPLES = 400, 256


def test_the_error_is_large_if_one_weight_outweighs_the_others() -> None:
    """The delta method gives 1 nat at most, however many nats the largest weight is worth."""
    log_weights = np.array([[0.0] * 63 + [20.0]])

    found = likelihood.importance_bound(log_weights)

    assert found.standard_error[0] > 15
    assert found.effective_samples[0] == pytest.approx(1, abs=1e-6)


def test_equal_weights_have_no_error_and_all_count() -> None:
    found = likelihood.importance_bound(np.full((2, 50), -100.0))

    assert found.bound == pytest.approx([-100, -100])
    assert found.standard_error == pytest.approx([0, 0], abs=1e-9)
    assert found.effective_samples == pytest.approx([50, 50])


def test_the_error_is_the_jackknifes() -> None:
    log_weights = np.random.default_rng(0).normal(size=(3, 20))
    left_out = np.stack(
        [np.log(np.exp(np.delete(log_weights, j, axis=1)).mean(1)) for j in range(20)], axis=1
    )
    expected = np.sqrt(19 / 20 * np.square(left_out - left_out.mean(1, keepdims=True)).sum(1))

    found = likelihood.importance_bound(log_weights)

    assert found.standard_error == pytest.approx(expected)


def test_the_proposal_is_wider_than_the_posterior_and_no_wider_than_the_prior() -> None:
    log_var = np.log(np.array([[0.01, 0.25, 0.9, 1.0, 4.0]], np.float32))
    sigma = np.exp(0.5 * log_var)

    scale = likelihood.proposal_scale(log_var)

    assert (scale[0, :2] > 1.2 * sigma[0, :2]).all()
    assert scale[0, 2:] == pytest.approx([1, 1, 2])


def narrow(widened: bool, dimensions: int = 4, factor: float = 0.6) -> NDArray[np.float64]:
    """Errors of the bound in units of its standard error, where log p(x) is known.

    p(z|x) is N(0, s^2) in each dimension and q(z|x) is N(0, (factor s)^2), as an ELBO makes it.
    """
    generator = np.random.default_rng(1)
    s = np.float32(0.2)
    noise = generator.standard_normal((IMAGES, SAMPLES, dimensions), np.float32)
    log_var = np.full((IMAGES, 1, dimensions), 2 * math.log(factor * s), np.float32)
    scale = likelihood.proposal_scale(log_var) if widened else np.exp(0.5 * log_var)
    latents = scale * noise
    # p(x|z) is what makes p(x, z) = p(z|x), so log p(x) = 0.
    log_joint = -0.5 * np.square(latents / s) - math.log(s) + 0.5 * np.square(latents)
    weights = log_joint.sum(2, dtype=np.float64)
    weights += likelihood.log_prior_to_proposal(latents, noise, scale)
    found = likelihood.importance_bound(weights)
    return found.bound / found.standard_error


def test_two_errors_contain_log_p_though_the_posterior_is_too_narrow() -> None:
    assert (np.abs(narrow(widened=True)) < 2).mean() > 0.9
    assert (np.abs(narrow(widened=False)) < 2).mean() < 0.75, "this is what the widening is for"
