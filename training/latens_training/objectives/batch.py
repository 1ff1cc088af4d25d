"""What an objective sees of a training step, and the terms that objectives are made of, in nats.

Kingma and Welling, "Auto-Encoding Variational Bayes" (2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from latens_training.likelihoods.likelihood import Likelihood
    from latens_training.models.autoencoder import ForwardOutput

_LOG_TWO_PI = math.log(2 * math.pi)

Terms = Mapping[str, Tensor]
"""Named sums over the images of a batch. `loss` is minimised; `reconstruction` and `kl` are the
terms of the ELBO; others are recorded beside them. An objective that is a module with weights also
gives `auxiliary`, which those weights minimise."""


@dataclass(frozen=True)
class Batch:
    """One training step: the network's output for a batch, and where the training stands.

    Attributes:
        output: of the network, for n images with k draws each.
        targets: images [n, c, h, w] in [0, 1].
        likelihood: p(x|z).
        epoch: epochs done, with the fraction of the current one.
        dataset_size: images in the training set.
        generator: for random numbers, so that a resumed run draws the same ones.
    """

    output: ForwardOutput
    targets: Tensor
    likelihood: Likelihood
    epoch: float
    dataset_size: int
    generator: torch.Generator | None = None

    @cached_property
    def negative_log_p(self) -> Tensor:
        """-log p(x|z) of each draw, [k, n]."""
        return self.likelihood.negative_log_p(self.output.decoded, self.targets)

    @cached_property
    def reconstruction(self) -> Tensor:
        """-log p(x|z), mean over the draws, [n]."""
        return self.negative_log_p.mean(0)

    @cached_property
    def kl(self) -> Tensor:
        """KL(q(z|x) || p(z)) [n]; 0 for a deterministic posterior."""
        return kl(self.output.mean, self.output.log_var)

    @cached_property
    def latents(self) -> Tensor:
        """The first draw of each image, flat, [n, L]."""
        return self.output.latents[0].flatten(1)

    def terms(self, loss: Tensor, **further: Tensor) -> dict[str, Tensor]:
        """The terms of a step: the loss and others [n] or summed, beside those of the ELBO."""
        found = {"loss": loss, "reconstruction": self.reconstruction, "kl": self.kl, **further}
        return {name: value.sum() for name, value in found.items()}


Objective = Callable[[Batch], Terms]


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


def log_normal(values: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The logarithm of the density N(mean, exp(log_var)) of each value; the shapes broadcast."""
    return -0.5 * (_LOG_TWO_PI + log_var + (values - mean).square() * torch.exp(-log_var))


def log_prior_to_posterior(latents: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """The logarithm of p(z) / q(z|x) at the latents drawn.

    Args:
        latents: [k, n, *latent_shape].
        mean: [n, *latent_shape].
        log_var: the same shape.

    Returns:
        [k, n], nats.
    """
    squares = (latents - mean).square() * (-log_var).exp()
    return 0.5 * (squares + log_var - latents.square()).flatten(2).sum(2)
