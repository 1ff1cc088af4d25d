"""The terms of the objective equal those of torch.distributions and Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn import functional

from latens_training.config import LossConfig, ModelConfig
from latens_training.likelihoods.continuous import Bernoulli, Gaussian
from latens_training.models.autoencoder import ForwardOutput, reparameterize
from latens_training.models.build import build
from latens_training.objectives.batch import (
    Batch,
    Terms,
    kl,
    kl_by_dim,
    log_prior_to_posterior,
)
from latens_training.objectives.registry import OBJECTIVES, build_objective

UNITS, IMAGES, SHAPE = 4, 6, (1, 5, 3)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.fixture
def posterior(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    mean = torch.randn(IMAGES, UNITS, generator=generator)
    return mean, torch.randn(IMAGES, UNITS, generator=generator) - 1


def distribution(mean: torch.Tensor, log_var: torch.Tensor) -> Independent:
    return Independent(Normal(mean, (0.5 * log_var).exp()), 1)


def prior() -> Independent:
    return Independent(Normal(torch.zeros(UNITS), torch.ones(UNITS)), 1)


def test_kl_is_the_closed_form_of_torch_distributions(
    posterior: tuple[torch.Tensor, torch.Tensor],
) -> None:
    expected = kl_divergence(distribution(*posterior), prior())
    torch.testing.assert_close(kl(*posterior), expected)
    torch.testing.assert_close(kl_by_dim(*posterior).sum(1), expected)


def test_kl_agrees_with_its_monte_carlo_estimate(
    posterior: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
) -> None:
    mean, log_var = posterior
    noise = torch.randn(40_000, *mean.shape, generator=generator)
    ratios = -log_prior_to_posterior(reparameterize(mean, log_var, noise), mean, log_var)
    errors = ratios.std(0) / math.sqrt(len(ratios))
    assert ((ratios.mean(0) - kl(mean, log_var)).abs() < 5 * errors).all()


def test_log_ratio_of_prior_and_posterior_is_that_of_torch_distributions(
    posterior: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
) -> None:
    latents = torch.randn(3, IMAGES, UNITS, generator=generator)
    expected = prior().log_prob(latents) - distribution(*posterior).log_prob(latents)
    torch.testing.assert_close(log_prior_to_posterior(latents, *posterior), expected)


def test_a_deterministic_posterior_has_no_kl() -> None:
    assert kl(torch.ones(3, 2), None).tolist() == [0.0, 0.0, 0.0]


def test_bernoulli_reconstruction_is_the_negative_log_likelihood(
    generator: torch.Generator,
) -> None:
    logits = 3 * torch.randn(2, IMAGES, *SHAPE, generator=generator)
    targets = (torch.rand(IMAGES, *SHAPE, generator=generator) < 0.5).float()
    expected = -Independent(TorchBernoulli(logits=logits), 3).log_prob(targets)
    torch.testing.assert_close(Bernoulli().negative_log_p(logits, targets), expected)


def test_bernoulli_reconstruction_of_grey_pixels_is_the_cross_entropy(
    generator: torch.Generator,
) -> None:
    logits = torch.randn(IMAGES, *SHAPE, generator=generator)
    targets = torch.rand(IMAGES, *SHAPE, generator=generator)
    chance = torch.sigmoid(logits)
    expected = -(targets * chance.log() + (1 - targets) * (1 - chance).log()).flatten(1).sum(1)
    torch.testing.assert_close(Bernoulli().negative_log_p(logits, targets), expected)


def test_bernoulli_reconstruction_stays_finite_where_a_sigmoid_saturates() -> None:
    logits = torch.tensor([1e4, -1e4]).view(2, 1, 1, 1)
    terms = Bernoulli().negative_log_p(logits, torch.zeros(2, 1, 1, 1))
    assert terms.tolist() == [1e4, 0.0]


@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_bernoulli_reconstruction_and_its_gradient_are_those_of_torch(
    generator: torch.Generator, scale: float
) -> None:
    logits = scale * torch.randn(3, IMAGES, *SHAPE, generator=generator)
    targets = torch.rand(IMAGES, *SHAPE, generator=generator)
    weights = torch.rand(3, IMAGES, generator=generator)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    terms = Bernoulli().negative_log_p(ours, targets)
    expected = functional.binary_cross_entropy_with_logits(
        theirs, targets.expand_as(theirs), reduction="none"
    ).sum((-3, -2, -1))
    torch.testing.assert_close(terms, expected)
    torch.autograd.backward((weights * terms).sum())
    torch.autograd.backward((weights * expected).sum())
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_gaussian_reconstruction_is_the_negative_log_likelihood(
    generator: torch.Generator,
) -> None:
    logits = torch.randn(IMAGES, *SHAPE, generator=generator)
    targets = torch.rand(IMAGES, *SHAPE, generator=generator)
    expected = -Independent(Normal(torch.sigmoid(logits), 0.3), 3).log_prob(targets)
    torch.testing.assert_close(Gaussian(0.3).negative_log_p(logits, targets), expected)


def test_gaussian_reconstruction_differs_from_squared_errors_by_a_constant_by_default(
    generator: torch.Generator,
) -> None:
    logits = torch.randn(IMAGES, *SHAPE, generator=generator)
    targets = torch.rand(IMAGES, *SHAPE, generator=generator)
    squares = (torch.sigmoid(logits) - targets).square().flatten(1).sum(1)
    constants = Gaussian(0.5**0.5).negative_log_p(logits, targets) - squares
    torch.testing.assert_close(constants, constants[:1].expand_as(constants))


def drawn(
    posterior: tuple[torch.Tensor, torch.Tensor], samples: int, generator: torch.Generator
) -> Batch:
    """A linear decoder's view of random images."""
    mean, log_var = posterior
    noise = torch.randn(samples, IMAGES, UNITS, generator=generator)
    latents = reparameterize(mean, log_var, noise)
    weight = torch.randn(UNITS, math.prod(SHAPE), generator=generator)
    targets = torch.rand(IMAGES, *SHAPE, generator=generator)
    output = ForwardOutput((latents @ weight).unflatten(2, SHAPE), latents, mean, log_var)
    return Batch(output, targets, Bernoulli(), epoch=0.5, dataset_size=1000, generator=generator)


def terms_of(batch: Batch, name: str, **options: object) -> Terms:
    beta = options.pop("beta", 1.0)
    config = LossConfig(objective=name, beta=beta, objective_options=options)
    model = build(ModelConfig(latent_size=UNITS, hidden=(2,)), SHAPE)
    return build_objective(config, model)(batch)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_elbo_objective_is_reconstruction_and_beta_times_kl(
    posterior: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator, beta: float
) -> None:
    batch = drawn(posterior, 3, generator)
    terms = terms_of(batch, "elbo", beta=beta)
    errors = batch.negative_log_p.mean(0).sum()
    divergence = kl(*posterior).sum()
    torch.testing.assert_close(terms["loss"], errors + beta * divergence)
    torch.testing.assert_close(terms["reconstruction"], errors)
    torch.testing.assert_close(terms["kl"], divergence)


# `vq` needs a codebook: test_a_codebook_is_trained_and_served.py.
@pytest.mark.parametrize("name", sorted({*OBJECTIVES.names()} - {"vq"}))
def test_every_objective_gives_the_terms_of_the_elbo_beside_its_loss(
    name: str, posterior: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
) -> None:
    batch = drawn(posterior, 2, generator)
    terms = terms_of(batch, name)
    assert list(terms)[:3] == ["loss", "reconstruction", "kl"]
    assert all(term.dim() == 0 and torch.isfinite(term) for term in terms.values())
    torch.testing.assert_close(terms["kl"], kl(*posterior).sum())


def importance_weights(batch: Batch) -> torch.Tensor:
    latents, mean, log_var = batch.output.latents, batch.output.mean, batch.output.log_var
    assert log_var is not None
    joint = prior().log_prob(latents) - batch.negative_log_p
    return (joint - distribution(mean, log_var).log_prob(latents)).double()


@pytest.mark.parametrize("name", ["iwae", "dreg"])
def test_the_importance_weighted_losses_are_the_log_mean_weight(
    name: str, posterior: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
) -> None:
    batch = drawn(posterior, 5, generator)
    expected = -importance_weights(batch).exp().mean(0).log().sum()
    loss = terms_of(batch, name)["loss"]
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-4)


def test_the_iwae_bound_is_tighter_than_the_elbo(
    posterior: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
) -> None:
    batch = drawn(posterior, 500, generator)
    assert terms_of(batch, "iwae")["loss"] < terms_of(batch, "elbo")["loss"]
