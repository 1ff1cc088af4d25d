"""The metrics of a model are correct, checked against a second way to compute them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from latens_training import checkpoint
from latens_training.config import ModelConfig
from latens_training.metrics.evaluation import Terms, evaluate, latent_dims
from latens_training.metrics.iwae_bound import iwae_bound, log_mean_weight
from latens_training.models.autoencoder import Autoencoder
from latens_training.models.build import build
from latens_training.objectives.batch import kl_by_dim

SHAPE = (1, 4, 4)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (40, *SHAPE), generator=torch.Generator().manual_seed(2)).byte()


@pytest.fixture(scope="module")
def model() -> Autoencoder:
    torch.manual_seed(4)
    model = build(ModelConfig(latent_size=2, hidden=(24,)), SHAPE).requires_grad_(False)
    for parameter in model.decoder.parameters():
        parameter.mul_(3)  # so that the latents matter
    return model


def exact_log_likelihood(model: Autoencoder, images: torch.Tensor) -> torch.Tensor:
    """log p(x) [n] by summing p(x|z) p(z) over a fine grid of the plane."""
    axis = torch.linspace(-7, 7, 281)
    grid = torch.cartesian_prod(axis, axis)
    log_prior = -0.5 * grid.square().sum(1) - math.log(2 * math.pi)
    logits = model.decode(grid)
    targets = images.float() / 255
    joint = [
        log_prior - model.likelihood.negative_log_p(logits, x.expand_as(logits)) for x in targets
    ]
    cell = 2 * math.log(float(axis[1] - axis[0]))
    return torch.stack([torch.logsumexp(row.double(), 0) + cell for row in joint])


def test_the_bound_of_many_draws_is_the_log_likelihood(
    model: Autoencoder, images: torch.Tensor
) -> None:
    exact = exact_log_likelihood(model, images)
    terms = evaluate(model, images)
    bound = iwae_bound(model, images, terms, samples=5000, subset=len(images))
    assert 0 < bound.standard_error < 0.02, "the error of the draws alone"
    assert bound.value == pytest.approx(float(exact.mean()), abs=0.05)
    assert terms.metrics(model.posterior)["elbo"] < bound.value


def test_the_error_of_a_whole_set_is_that_of_its_draws(
    model: Autoencoder, images: torch.Tensor
) -> None:
    """It read 0.000 wherever the subset was the whole set, as with 500 images or fewer."""
    terms = evaluate(model, images)
    few, many = (
        iwae_bound(model, images, terms, samples=samples, subset=500) for samples in (50, 5000)
    )
    assert few.standard_error > 2 * many.standard_error > 0
    assert abs(few.value - many.value) < 4 * few.standard_error


def test_a_bound_whose_error_is_unknown_has_none(model: Autoencoder, images: torch.Tensor) -> None:
    terms = evaluate(model, images[:1])
    bound = iwae_bound(model, images[:1], terms, samples=1, subset=500)
    assert set(bound.metrics()) == {"iwae_bound", "iwae_bound_samples"}


def test_the_error_of_a_mean_weight_is_the_jackknifes() -> None:
    weights = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    value, error = log_mean_weight(weights)
    left_out = torch.stack(
        [torch.cat([weights[:j], weights[j + 1 :]]).logsumexp(0) for j in range(30)]
    )
    assert value == pytest.approx(float(weights.exp().mean().log()))
    assert error == pytest.approx(math.sqrt(29 * float(left_out.var(correction=0))))


def test_a_subset_with_the_elbo_as_control_agrees_within_its_error(
    model: Autoencoder, images: torch.Tensor
) -> None:
    terms = evaluate(model, images, draws=200)
    full = iwae_bound(model, images, terms, samples=2000, subset=40)
    part = iwae_bound(model, images, terms, samples=2000, subset=20)
    assert part.images == 20
    assert part.standard_error > 0
    assert abs(part.value - full.value) < 5 * part.standard_error
    elbos = -(terms.reconstruction + terms.kl)
    assert part.standard_error < float(elbos.std()) / 20**0.5, "the control variate is of use"


def test_the_elbo_is_a_lower_bound_with_the_gap_of_one_draw(
    model: Autoencoder, images: torch.Tensor
) -> None:
    terms = evaluate(model, images, draws=2000)
    one = iwae_bound(model, images, terms, samples=1, subset=40)
    elbo = terms.metrics(model.posterior)["elbo"]
    assert one.value == pytest.approx(elbo, abs=4 * float(terms.reconstruction.std()) / 40**0.5)


def test_kl_by_dim_sums_to_the_kl(model: Autoencoder, images: torch.Tensor) -> None:
    terms = evaluate(model, images)
    mean, log_var = model.encode(images.float() / 255)
    assert log_var is not None
    torch.testing.assert_close(terms.kl_by_dim.float(), kl_by_dim(mean, log_var).mean(0))
    assert float(terms.kl_by_dim.sum()) == pytest.approx(float(terms.kl.mean()), rel=1e-5)


def test_the_same_model_and_set_give_the_same_figures(
    model: Autoencoder, images: torch.Tensor
) -> None:
    first, second = (evaluate(model, images).metrics("diagonal-gaussian") for _ in range(2))
    assert first == second


def test_a_coordinate_is_active_if_its_mean_varies_by_more_than_a_hundredth() -> None:
    spread = torch.tensor([0.09, 0.11, 0.0])  # variances 0.0081, 0.0121, 0
    mean = torch.tensor([[1.0], [-1.0]]) * spread + 5
    terms = Terms(torch.zeros(2), torch.zeros(2), torch.zeros(3), mean)
    assert terms.active_units == 1


def test_latent_dims_are_those_of_the_whole_set(model: Autoencoder, images: torch.Tensor) -> None:
    mean, log_var = model.encode(images.float() / 255)
    assert log_var is not None
    for index, dim in enumerate(latent_dims(model, images)):
        assert dim.mean == pytest.approx(float(mean[:, index].mean()), rel=1e-4)
        assert dim.std == pytest.approx(float(mean[:, index].std(correction=0)), rel=1e-4)
        assert dim.kl == pytest.approx(float(kl_by_dim(mean, log_var)[:, index].mean()), rel=1e-4)


def test_a_deterministic_posterior_has_no_elbo(images: torch.Tensor) -> None:
    model = build(ModelConfig(architecture="ae-mlp", hidden=(8,)), SHAPE).requires_grad_(False)
    metrics = evaluate(model, images).metrics(model.posterior)
    assert metrics.keys() == {"reconstruction", "active_units"}
    assert [dim.kl for dim in latent_dims(model, images)] == [0, 0]


def test_a_few_hundred_steps_on_mnist_beat_the_best_constant_picture(trained_run: Path) -> None:
    metrics = checkpoint.load(trained_run).metrics
    assert metrics["elbo"] > -195, "a constant picture scores -206"
    assert metrics["active_units"] == 2
    assert metrics["kl"] > 1
