"""Annealing, capacity, total correlation, DReG and MMD equal what their papers define."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from latens_training.likelihoods.continuous import Bernoulli
from latens_training.models.autoencoder import ForwardOutput, reparameterize
from latens_training.objectives.batch import Batch, Objective, kl_by_dim
from latens_training.objectives.capacity import Capacity
from latens_training.objectives.elbo import Elbo
from latens_training.objectives.iwae import Iwae, dreg
from latens_training.objectives.mmd import Mmd, squared_mmd
from latens_training.objectives.total_correlation import BetaTc, FactorVae, decomposed_kl

SHAPE = (1, 3, 2)
IMAGES, UNITS = 5, 3


def batch_of(
    mean: Tensor, log_var: Tensor, *, samples: int = 1, epoch: float = 0.0, seed: int = 0
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, *mean.shape, generator=generator)
    latents = reparameterize(mean, log_var, noise)
    weight = torch.randn(mean.shape[1], math.prod(SHAPE), generator=generator)
    targets = torch.rand(len(mean), *SHAPE, generator=generator)
    output = ForwardOutput((latents @ weight).unflatten(2, SHAPE), latents, mean, log_var)
    return Batch(output, targets, Bernoulli(), epoch, dataset_size=100, generator=generator)


@pytest.fixture
def posterior() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    mean = torch.randn(IMAGES, UNITS, generator=generator)
    return mean, torch.randn(IMAGES, UNITS, generator=generator) - 1


@pytest.mark.parametrize(
    ("warmup", "cycle", "epoch", "expected"),
    [
        (0, 0, 0.0, 2.0),
        (4, 0, 0.0, 0.0),
        (4, 0, 1.0, 0.5),
        (4, 0, 9.0, 2.0),
        (4, 10, 9.0, 2.0),
        (4, 10, 11.0, 0.5),
    ],
)
def test_the_weight_of_the_kl_rises_once_or_in_cycles(
    warmup: float, cycle: float, epoch: float, expected: float, posterior: tuple[Tensor, Tensor]
) -> None:
    objective = Elbo(beta=2.0, kl_warmup=warmup, kl_cycle=cycle, free_bits=0)
    batch = batch_of(*posterior, epoch=epoch)
    terms = objective(batch)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + expected * terms["kl"])
    if expected != objective.beta:
        assert terms["kl_weight"] == pytest.approx(expected * IMAGES)


def test_free_bits_charge_only_what_exceeds_them(posterior: tuple[Tensor, Tensor]) -> None:
    by_dim = kl_by_dim(*posterior).mean(0)
    allowed = float(by_dim.median())
    terms = Elbo(1.0, 0, 0, allowed)(batch_of(*posterior))
    expected = torch.where(by_dim > allowed, by_dim, allowed).sum() * IMAGES
    torch.testing.assert_close(terms["loss"] - terms["reconstruction"], expected)


def test_capacity_charges_the_distance_of_each_kl(posterior: tuple[Tensor, Tensor]) -> None:
    objective = Capacity(gamma=10.0, capacity=8.0, capacity_epochs=4.0)
    for epoch, target in ((0.0, 0.0), (1.0, 2.0), (9.0, 8.0)):
        batch = batch_of(*posterior, epoch=epoch)
        terms = objective(batch)
        expected = 10 * (batch.kl - target).abs().sum()
        torch.testing.assert_close(terms["loss"] - terms["reconstruction"], expected)
        assert terms["capacity"] == target * IMAGES


def test_the_parts_of_the_kl_add_up_to_log_q_minus_log_p(posterior: tuple[Tensor, Tensor]) -> None:
    batch = batch_of(*posterior)
    parts = decomposed_kl(batch.latents, *posterior, dataset_size=100)
    q = Independent(Normal(posterior[0], (0.5 * posterior[1]).exp()), 1)
    p = Independent(Normal(torch.zeros(UNITS), torch.ones(UNITS)), 1)
    whole = q.log_prob(batch.latents) - p.log_prob(batch.latents)
    torch.testing.assert_close(sum(parts, torch.zeros(IMAGES)), whole)


def test_total_correlation_by_minibatch_is_that_of_a_known_gaussian() -> None:
    """A posterior of one point per image: the aggregate is a Gaussian with known correlation."""
    generator = torch.Generator().manual_seed(0)
    count, correlation = 4000, 0.8
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    root = torch.linalg.cholesky(covariance - 0.05 * torch.eye(2))
    mean = torch.randn(count, 2, generator=generator) @ root.T
    log_var = torch.full_like(mean, math.log(0.05))
    latents = reparameterize(mean, log_var, torch.randn(1, count, 2, generator=generator))[0]
    _, found, _ = decomposed_kl(latents, mean, log_var, dataset_size=1)
    # With N = 1 the estimate of log q(z) is off by log N in each density, which cancels but once.
    marginals = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    joint = MultivariateNormal(torch.zeros(2), covariance)
    expected = (joint.log_prob(latents) - marginals.log_prob(latents)).mean()
    assert float(found.mean()) == pytest.approx(float(expected), abs=0.05)


def test_beta_tc_with_all_weights_one_is_the_elbo_in_expectation(
    posterior: tuple[Tensor, Tensor],
) -> None:
    batch = batch_of(*posterior)
    terms = BetaTc(1.0, 1.0, 1.0)(batch)
    names = ("mutual_information", "total_correlation", "dimension_kl")
    total = sum((terms[name] for name in names), torch.zeros(()))
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + total)


def test_factor_vae_pays_the_discriminators_logit_difference(
    posterior: tuple[Tensor, Tensor],
) -> None:
    torch.manual_seed(0)
    objective = FactorVae(UNITS, gamma=3.0, discriminator_width=8)
    batch = batch_of(*posterior)
    terms = objective(batch)
    logits = objective.discriminator(batch.latents)
    expected = terms["reconstruction"] + terms["kl"] + 3 * (logits[:, 0] - logits[:, 1]).sum()
    torch.testing.assert_close(terms["loss"], expected)
    assert terms["auxiliary"] > 0


def test_permuted_latents_keep_each_coordinates_values(posterior: tuple[Tensor, Tensor]) -> None:
    from latens_training.objectives.total_correlation import _permuted

    latents = torch.arange(60.0).view(20, 3)
    permuted = _permuted(latents, torch.Generator().manual_seed(0))
    torch.testing.assert_close(permuted.sort(0).values, latents)
    assert not torch.equal(permuted, latents)


def test_the_discrepancy_of_a_sample_and_itself_is_zero() -> None:
    draw = torch.Generator().manual_seed(0)
    near, far = torch.randn(500, 4, generator=draw), torch.randn(500, 4, generator=draw) + 2
    assert float(squared_mmd(near, near)) == pytest.approx(0, abs=1e-6)
    same = torch.randn(500, 4, generator=draw)
    assert float(squared_mmd(near, far)) > 20 * float(squared_mmd(near, same)) > 0


def test_mmd_with_alpha_one_leaves_the_kl_out(posterior: tuple[Tensor, Tensor]) -> None:
    terms = Mmd(alpha=1.0, weight=7.0)(batch_of(*posterior))
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 7 * terms["mmd"])


def gradients(objective: Objective, samples: int, seed: int) -> tuple[Tensor, ...]:
    """Of the loss by the means, the log variances and the decoder, close to the true posterior.

    The decoder hardly depends on the latents, so the true posterior is close to the prior.
    """
    generator = torch.Generator().manual_seed(11)
    mean = (0.1 * torch.randn(2, UNITS, generator=generator)).requires_grad_()
    log_var = (0.1 * torch.randn(2, UNITS, generator=generator)).requires_grad_()
    weight = 0.1 * torch.randn(UNITS, math.prod(SHAPE), generator=generator)
    weight.requires_grad_()
    targets = (torch.rand(2, *SHAPE, generator=generator) < 0.5).float()
    noise = torch.randn(samples, 2, UNITS, generator=torch.Generator().manual_seed(seed))
    latents = reparameterize(mean, log_var, noise)
    output = ForwardOutput((latents @ weight).unflatten(2, SHAPE), latents, mean, log_var)
    loss = objective(Batch(output, targets, Bernoulli(), 0.0, 100))["loss"]
    return torch.autograd.grad(loss, [mean, log_var, weight])


def test_dregs_gradient_has_iwaes_mean_and_less_noise() -> None:
    """Both estimate the same gradient without bias; for the decoder they are the same."""
    plain = [gradients(Iwae(1.0), 8, seed) for seed in range(1000)]
    doubly = [gradients(dreg, 8, seed) for seed in range(1000)]
    for place in (0, 1):
        first = torch.stack([one[place].flatten() for one in plain])
        second = torch.stack([one[place].flatten() for one in doubly])
        error = ((first.var(0) + second.var(0)) / len(first)).sqrt()
        assert ((first.mean(0) - second.mean(0)).abs() < 5 * error + 1e-6).all(), place
        assert second.var(0).sum() < 0.2 * first.var(0).sum()
    torch.testing.assert_close(plain[0][2], doubly[0][2])
