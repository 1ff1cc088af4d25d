"""The importance-weighted bound, and its doubly reparameterised gradient.

Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders" (2016), equation 8; Tucker,
Lawson, Gu and Maddison, "Doubly Reparameterized Gradient Estimators" (2018), equation 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latens_training.errors import UsageError
from latens_training.objectives.batch import Batch, Terms, log_prior_to_posterior


@dataclass(frozen=True)
class Iwae:
    """Minus the logarithm of the mean importance weight.

    Attributes:
        beta: weighs the ratio of prior to posterior; 1 in the paper.
    """

    beta: float

    def __call__(self, batch: Batch) -> Terms:
        mean, log_var = _gaussian_posterior(batch)
        ratio = log_prior_to_posterior(batch.output.latents, mean, log_var)
        weights = self.beta * ratio - batch.negative_log_p
        return batch.terms(_negative_log_mean(weights))


def dreg(batch: Batch) -> Terms:
    """The same bound, whose gradient for the encoder has less noise with many draws.

    The encoder's weights get each draw's gradient times the square of its share in the sum of
    importance weights, and none through the density of the posterior.
    """
    mean, log_var = _gaussian_posterior(batch)
    latents = batch.output.latents
    ratio = log_prior_to_posterior(latents, mean.detach(), log_var.detach())
    weights = ratio - batch.negative_log_p
    shares = weights.detach().softmax(0)
    if latents.requires_grad:
        column = shares.view(*shares.shape, *[1] * (latents.dim() - 2))
        # The decoder's weights get their gradient before this: once times the share.
        latents.register_hook(lambda gradient: gradient * column)  # type: ignore[no-untyped-call]
    # Its gradient is that of the sum of weights by share; its value is the bound.
    surrogate = -(shares * weights).sum(0)
    value = _negative_log_mean(weights)
    return batch.terms(surrogate + (value - surrogate).detach())


def _negative_log_mean(weights: Tensor) -> Tensor:
    """Of the logarithms of weights [k, n]: [n]."""
    return math.log(len(weights)) - torch.logsumexp(weights, 0)


def _gaussian_posterior(batch: Batch) -> tuple[Tensor, Tensor]:
    if batch.output.log_var is None:
        raise UsageError("objective: importance weights need a model with a log variance")
    return batch.output.mean, batch.output.log_var
