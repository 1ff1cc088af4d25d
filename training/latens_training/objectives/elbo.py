"""The terms of the objective, in nats, and the objective itself.

Kingma and Welling, "Auto-Encoding Variational Bayes" (2013); Higgins et al., "beta-VAE" (2017);
Burda et al., "Importance Weighted Autoencoders" (2015).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from latens_training.config import LossConfig
from latens_training.models.autoencoder import ForwardOutput

_LOG_TWO_PI = math.log(2 * math.pi)
_PIXEL_AXES = (-3, -2, -1)


class _CrossEntropy(torch.autograd.Function):
    """Of logits [..., n, c, h, w] with targets [n, c, h, w], summed over the pixels to [..., n].

    torch's own takes log1p of every pixel, which on a busy machine was measured to be up to twenty
    times as slow as the logarithm and the sigmoid that do here, and then took a quarter of a step.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        chances = torch.sigmoid(logits)
        ctx.save_for_backward(chances, targets)
        # softplus(x) - x t; softplus(x) = max(x, 0) - log max(p, 1 - p), finite where p is 0 or 1.
        log_larger = (chances - 0.5).abs_().add_(0.5).log_()
        terms = torch.addcmul(logits.clamp_min(0), logits, targets, value=-1)
        return terms.sub_(log_larger).sum(_PIXEL_AXES)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        chances, targets = ctx.saved_tensors
        return (chances - targets).mul_(gradient[..., None, None, None]), None


def reconstruction(logits: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """-log p(x|z), nats an image.

    The Bernoulli term is computed from the logits, so that it stays finite where a sigmoid would
    saturate; for grey targets it is the cross-entropy, as is usual, and no true likelihood.
    The Gaussian term keeps its normalising constant.

    Args:
        logits: [..., n, c, h, w].
        targets: [n, c, h, w] in [0, 1].
        config: likelihood and sigma.

    Returns:
        [..., n].
    """
    if config.likelihood == "bernoulli":
        errors: Tensor = _CrossEntropy.apply(logits, targets)
        return errors
    squares = (torch.sigmoid(logits) - targets).square().sum(_PIXEL_AXES)
    constant = 0.5 * math.prod(targets.shape[-3:]) * (_LOG_TWO_PI + 2 * math.log(config.sigma))
    return squares / (2 * config.sigma**2) + constant


def kl_by_unit(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)) of each coordinate, nats; of the arguments' shape.

    Kingma and Welling (2013), appendix B.
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def kl(mean: Tensor, log_var: Tensor | None) -> Tensor:
    """KL(q(z|x) || p(z)) [n], nats an image; a deterministic posterior counts as 0."""
    if log_var is None:
        return mean.new_zeros(len(mean))
    return kl_by_unit(mean, log_var).flatten(1).sum(1)


def log_prior_to_posterior(latents: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The logarithm of p(z) / q(z|x) at the latents drawn.

    Args:
        latents: [k, n, *latent_shape].
        mean: [n, *latent_shape].
        log_var: [n, *latent_shape].

    Returns:
        [k, n], nats.
    """
    squares = (latents - mean).square() * torch.exp(-log_var)
    return 0.5 * (squares + log_var - latents.square()).flatten(2).sum(2)


def objective(drawn: ForwardOutput, targets: Tensor, config: LossConfig) -> tuple[Tensor, Tensor]:
    """The loss to minimise, and its terms.

    `elbo` is reconstruction + beta KL, averaged over the draws; `iwae` is minus the logarithm of
    the mean importance weight, with beta on the ratio of prior to posterior.

    Args:
        drawn: of the network.
        targets: [n, c, h, w] in [0, 1].
        config: likelihood, beta, objective.

    Returns:
        The loss summed over the images (a scalar), and the sums of loss, reconstruction and KL
        ([3], detached), nats.
    """
    negative_log_p = reconstruction(drawn.logits, targets, config)
    divergence = kl(drawn.mean, drawn.log_var).sum()
    expected = negative_log_p.mean(0).sum()
    if config.objective == "elbo" or drawn.log_var is None:
        loss = expected + config.beta * divergence
    else:
        ratio = log_prior_to_posterior(drawn.latents, drawn.mean, drawn.log_var)
        weights = config.beta * ratio - negative_log_p
        loss = (math.log(len(weights)) - torch.logsumexp(weights, 0)).sum()
    return loss, torch.stack([loss.detach(), expected.detach(), divergence.detach()])
