"""Objectives that weigh the total correlation of the latents: beta-TCVAE and FactorVAE.

Chen, Li, Grosse and Duvenaud, "Isolating sources of disentanglement in VAEs" (2018); Kim and Mnih,
"Disentangling by factorising" (2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from latens_training.errors import UsageError
from latens_training.objectives.batch import Batch, Terms, log_normal

_LEAK = 0.2
_DISCRIMINATOR_LAYERS = 5


@dataclass(frozen=True)
class BetaTc:
    """The ELBO with its KL term in three parts, each with a weight (Chen et al., equation 4).

    The parts are estimated by minibatch-weighted sampling (appendix C.1).

    Attributes:
        alpha: the weight of the mutual information of image and latent.
        beta: the weight of the total correlation.
        gamma: the weight of the KL of each coordinate to its prior.
    """

    alpha: float
    beta: float
    gamma: float

    def __call__(self, batch: Batch) -> Terms:
        if batch.output.log_var is None:
            raise UsageError("objective: beta-tc needs a model with a log variance")
        information, correlation, by_dim = decomposed_kl(
            batch.latents,
            batch.output.mean.flatten(1),
            batch.output.log_var.flatten(1),
            batch.dataset_size,
        )
        penalty = self.alpha * information + self.beta * correlation + self.gamma * by_dim
        return batch.terms(
            batch.reconstruction + penalty,
            mutual_information=information,
            total_correlation=correlation,
            dimension_kl=by_dim,
        )


def decomposed_kl(
    latents: Tensor, mean: Tensor, log_var: Tensor, dataset_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The KL term as mutual information, total correlation and KL by dimension, each [n].

    Args:
        latents: one draw per image, [n, L].
        mean: [n, L].
        log_var: [n, L].
        dataset_size: images in the training set.
    """
    count = len(latents)
    pairs = log_normal(latents[:, None], mean[None], log_var[None])  # [n, n, L]
    log_weight = math.log(count * dataset_size)
    log_joint = torch.logsumexp(pairs.sum(2), 1) - log_weight
    log_marginals = (torch.logsumexp(pairs, 1) - log_weight).sum(1)
    log_posterior = log_normal(latents, mean, log_var).sum(1)
    zeros = torch.zeros_like(latents)
    log_prior = log_normal(latents, zeros, zeros).sum(1)
    return log_posterior - log_joint, log_joint - log_marginals, log_marginals - log_prior


class FactorVae(nn.Module):
    """The ELBO plus gamma times the total correlation, which a discriminator estimates.

    The discriminator tells latents from latents whose coordinates were permuted over the batch. It
    sees the batch that the VAE is trained on; the paper takes a second one.
    """

    def __init__(self, latent_size: int, gamma: float, discriminator_width: int) -> None:
        super().__init__()
        self.gamma = gamma
        layers: list[nn.Module] = []
        inputs = latent_size
        for _ in range(_DISCRIMINATOR_LAYERS):
            layers += [nn.Linear(inputs, discriminator_width), nn.LeakyReLU(_LEAK)]
            inputs = discriminator_width
        self.discriminator = nn.Sequential(*layers, nn.Linear(inputs, 2))

    def forward(self, batch: Batch) -> Terms:
        latents = batch.latents
        logits = self.discriminator(latents)
        correlation = logits[:, 0] - logits[:, 1]
        loss = batch.reconstruction + batch.kl + self.gamma * correlation
        fixed = latents.detach()
        auxiliary = 0.5 * (
            _cross_entropy(self.discriminator(fixed), 0)
            + _cross_entropy(self.discriminator(_permuted(fixed, batch.generator)), 1)
        )
        return batch.terms(loss, total_correlation=correlation, auxiliary=auxiliary)


def _cross_entropy(logits: Tensor, label: int) -> Tensor:
    labels = torch.full((len(logits),), label, device=logits.device)
    return functional.cross_entropy(logits, labels, reduction="none")


def _permuted(latents: Tensor, generator: torch.Generator | None) -> Tensor:
    """Each coordinate permuted over the batch on its own, [n, L]."""
    keys = torch.rand(latents.shape, generator=generator, device=latents.device)
    return latents.gather(0, keys.argsort(0))
