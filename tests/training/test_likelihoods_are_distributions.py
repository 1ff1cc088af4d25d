"""Every decoder likelihood is a normalised distribution, and its mean is the distribution's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from latens_training.config import LossConfig
from latens_training.likelihoods.likelihood import Likelihood
from latens_training.likelihoods.registry import LIKELIHOODS, build_likelihood

CHANNELS, SIDE = 2, 3


def likelihood(name: str, **options: object) -> Likelihood:
    return build_likelihood(LossConfig(likelihood=name, sigma=0.2, likelihood_options=options))


def decoded(made: Likelihood, count: int = 1, scale: float = 1.0) -> Tensor:
    shape = (count, made.channels(CHANNELS), SIDE, SIDE)
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", LIKELIHOODS.names())
def test_the_mean_is_an_image_and_the_error_one_number_per_draw(name: str) -> None:
    made = likelihood(name)
    values = decoded(made, 6).unflatten(0, (3, 2))  # three draws for two images
    targets = torch.rand(2, CHANNELS, SIDE, SIDE)
    mean, error = made.mean(values), made.negative_log_p(values, targets)
    assert mean.shape == (3, 2, CHANNELS, SIDE, SIDE)
    assert 0 <= float(mean.min()) <= float(mean.max()) <= 1
    assert error.shape == (3, 2)
    alone = made.negative_log_p(values[1, 1:], targets[1:])
    torch.testing.assert_close(error[1, 1:], alone)


@pytest.mark.parametrize("name", ["logistic-mixture", "categorical"])
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_256_grey_levels_have_probability_one_in_all(name: str, scale: float) -> None:
    made = likelihood(name)
    one = made.channels(1)
    values = scale * torch.randn(1, one, 1, 1, generator=torch.Generator().manual_seed(1))
    levels = (torch.arange(256) / 255).view(256, 1, 1, 1)
    log_p = -made.negative_log_p(values.expand(256, one, 1, 1), levels).double()
    assert float(log_p.exp().sum()) == pytest.approx(1, abs=2e-3)
    expected = float((log_p.exp() * levels.flatten()).sum() / log_p.exp().sum())
    if name == "categorical":
        assert float(made.mean(values)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("logit", [-6.0, -0.5, -0.39, 0.0, 1e-3, 0.41, 2.0])
def test_the_continuous_bernoulli_is_a_density_over_the_unit_interval(logit: float) -> None:
    made = likelihood("continuous-bernoulli")
    points = 20_001
    grid = torch.linspace(0, 1, points, dtype=torch.float64).view(points, 1, 1, 1)
    values = torch.full((points, 1, 1, 1), logit, dtype=torch.float64)
    density = (-made.negative_log_p(values, grid)).exp()
    assert float(torch.trapezoid(density, grid.flatten())) == pytest.approx(1, abs=1e-4)
    mean = float(torch.trapezoid(density * grid.flatten(), grid.flatten()))
    assert float(made.mean(values[:1])) == pytest.approx(mean, abs=1e-4)


def test_the_learnt_gaussian_is_a_gaussian_whose_sigma_has_a_gradient() -> None:
    made = likelihood("gaussian-learnt")
    values, targets = decoded(made, 4), torch.rand(4, CHANNELS, SIDE, SIDE)
    expected = -Independent(Normal(torch.sigmoid(values), 0.2), 3).log_prob(targets)
    error = made.negative_log_p(values, targets)
    torch.testing.assert_close(error, expected)
    (weight,) = made.parameters()
    # At the best sigma, the root of the mean squared error, the gradient is 0.
    best = (torch.sigmoid(values) - targets).square().mean().sqrt()
    with torch.no_grad():
        weight.copy_(best.log())
    (gradient,) = torch.autograd.grad(made.negative_log_p(values, targets).sum(), [weight])
    assert float(gradient) == pytest.approx(0, abs=1e-3)
    assert made.served is not None
    assert made.served.sigma == pytest.approx(float(best))


def test_sharp_logistics_have_finite_errors_and_gradients_everywhere() -> None:
    made = likelihood("logistic-mixture", mixtures=2)
    values = torch.zeros(1, made.channels(1), 1, 256)
    values[:, 4:] = -30.0  # the log scales, clamped to the least
    values[:, 2:4] = 0.5
    values.requires_grad_()
    targets = (torch.arange(256) / 255).view(1, 1, 1, 256)
    error = made.negative_log_p(values, targets).sum()
    (gradient,) = torch.autograd.grad(error, [values])
    assert math.isfinite(error.item())
    assert torch.isfinite(gradient).all()
