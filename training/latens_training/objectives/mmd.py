"""InfoVAE: the maximum mean discrepancy between the aggregate posterior and the prior.

Zhao, Song and Ermon, "InfoVAE: balancing learning and inference in variational autoencoders"
(2019), equation 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latens_training.objectives.batch import Batch, Terms


@dataclass(frozen=True)
class Mmd:
    """Reconstruction + (1 - alpha) KL + (alpha + weight - 1) MMD, the paper's lambda as weight.

    Attributes:
        alpha: 1 leaves the KL term out, which makes it the MMD-VAE.
        weight: of the discrepancy; the paper's experiments have 1000 for images.
    """

    alpha: float
    weight: float

    def __call__(self, batch: Batch) -> Terms:
        latents = batch.latents
        prior = torch.randn(
            latents.shape, generator=batch.generator, device=latents.device, dtype=latents.dtype
        )
        discrepancy = squared_mmd(latents, prior) * len(latents)
        loss = batch.reconstruction.sum() + (1 - self.alpha) * batch.kl.sum()
        loss = loss + (self.alpha + self.weight - 1) * discrepancy
        return batch.terms(loss, mmd=discrepancy)


def squared_mmd(first: Tensor, second: Tensor) -> Tensor:
    """The squared discrepancy of two samples [n, L] with the kernel exp(-|x - y|^2 / (2 L))."""
    size = first.shape[1]

    def mean_kernel(one: Tensor, other: Tensor) -> Tensor:
        squares = (one[:, None] - other[None]).square().sum(2)
        return torch.exp(-squares / (2 * size)).mean()

    return mean_kernel(first, first) + mean_kernel(second, second) - 2 * mean_kernel(first, second)
