"""The terms that objectives are made of, in nats.

Kingma and Welling, "Auto-Encoding Variational Bayes" (2013).
"""

from __future__ import annotations

import math

from torch import Tensor, sigmoid
from torch.nn import functional

from latens_training.config import LossConfig

_LOG_TWO_PI = math.log(2 * math.pi)
_PIXEL_AXES = (-3, -2, -1)


def reconstruction(logits: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """-log p(x|z), nats per image.

    The Bernoulli term is computed from the logits, so that it stays finite where a sigmoid would
    saturate; for grey targets it is the cross-entropy, as is usual, and not a true likelihood.
    The Gaussian term keeps its normalising constant.

    Args:
        logits: [..., n, c, h, w].
        targets: [n, c, h, w] in [0, 1].
        config: likelihood and sigma.

    Returns:
        [..., n].
    """
    if config.likelihood == "bernoulli":
        pixels = functional.binary_cross_entropy_with_logits(
            logits, targets.expand_as(logits), reduction="none"
        )
        return pixels.sum(_PIXEL_AXES)
    squares = (sigmoid(logits) - targets).square().sum(_PIXEL_AXES)
    constant = 0.5 * math.prod(targets.shape[-3:]) * (_LOG_TWO_PI + 2 * math.log(config.sigma))
    return squares / (2 * config.sigma**2) + constant


def kl_by_dim(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, 1)) of each coordinate, nats; of the arguments' shape.

    Kingma and Welling (2013), appendix B.
    """
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var)


def kl(mean: Tensor, log_var: Tensor | None) -> Tensor:
    """KL(q(z|x) || p(z)) [n], nats per image; 0 for a deterministic posterior."""
    if log_var is None:
        return mean.new_zeros(len(mean))
    return kl_by_dim(mean, log_var).flatten(1).sum(1)


def log_prior_to_posterior(latents: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The logarithm of p(z) / q(z|x) at the latents drawn.

    Args:
        latents: [k, n, *latent_shape].
        mean: [n, *latent_shape].
        log_var: [n, *latent_shape].

    Returns:
        [k, n], nats.
    """
    squares = (latents - mean).square() * (-log_var).exp()
    return 0.5 * (squares + log_var - latents.square()).flatten(2).sum(2)
