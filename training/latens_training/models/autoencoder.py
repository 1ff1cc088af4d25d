"""The autoencoder: an encoder and a decoder as separate modules, and the function that builds it.

The networks are those of Penkovsky's article "Day 9: Roaming The Latent Space" (10 days of grad),
with their sizes as settings. The loss is computed elsewhere: see `latens_training.objectives`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn

from latens_training.models.conv import ConvDecoder, ConvEncoder
from latens_training.models.mlp import MlpDecoder, MlpEncoder

if TYPE_CHECKING:
    from latens_training.config import ModelConfig

Posterior = Literal["diagonal-gaussian", "deterministic"]
ImageShape = tuple[int, int, int]


class ForwardOutput(NamedTuple):
    """The outputs of the network for a batch of n images with k draws per image."""

    logits: Tensor
    """[k, n, c, h, w]."""
    latents: Tensor
    """[k, n, *latent_shape]."""
    mean: Tensor
    """[n, *latent_shape]."""
    log_var: Tensor | None
    """[n, *latent_shape]; None for a deterministic posterior."""


class Autoencoder(nn.Module):
    """An encoder of images into a posterior over latents, and a decoder of latents into logits."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        image_shape: ImageShape,
        latent_shape: tuple[int, ...],
        posterior: Posterior,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.image_shape = image_shape
        self.latent_shape = latent_shape
        self.posterior: Posterior = posterior

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [n, c, h, w] in [0, 1] to `(mean, log_var)`, each [n, *latent_shape].

        `log_var` is None for a deterministic posterior.
        """
        posterior: tuple[Tensor, Tensor | None] = self.encoder(images)
        return posterior

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [n, *latent_shape] to logits [n, c, h, w]; their sigmoid is the image."""
        logits: Tensor = self.decoder(latents)
        return logits

    def forward(self, images: Tensor, noise: Tensor) -> ForwardOutput:
        """Encodes, draws latents with the given standard normal noise, and decodes.

        Args:
            images: [n, c, h, w] in [0, 1].
            noise: [k, n, *latent_shape], k draws per image; a deterministic posterior ignores it.
        """
        mean, log_var = self.encode(images)
        latents = reparameterize(mean, log_var, noise)
        logits = self.decode(latents.flatten(0, 1)).view(*latents.shape[:2], *self.image_shape)
        return ForwardOutput(logits, latents, mean, log_var)


def reparameterize(mean: Tensor, log_var: Tensor | None, noise: Tensor) -> Tensor:
    """Latents z = mean + sigma * noise (Kingma and Welling 2013, equation 10).

    Args:
        mean: [n, *latent_shape].
        log_var: the same shape; None for a deterministic posterior, where z is the mean.
        noise: standard normal, [k, n, *latent_shape].

    Returns:
        [k, n, *latent_shape].
    """
    if log_var is None:
        return mean.expand(noise.shape[0], *mean.shape)
    return mean + torch.exp(0.5 * log_var) * noise


def build(config: ModelConfig, image_shape: ImageShape) -> Autoencoder:
    """Makes an untrained network; its weights are drawn from torch's global generator.

    Raises:
        UsageError: the convolutional network does not take images of this shape.
    """
    latent_shape = (config.latent_size,)
    encoder: nn.Module
    decoder: nn.Module
    if config.architecture == "vae-conv":
        encoder = ConvEncoder(image_shape, config.latent_size)
        decoder = ConvDecoder(image_shape, config.latent_size)
        return Autoencoder(encoder, decoder, image_shape, latent_shape, "diagonal-gaussian")
    posterior: Posterior = (
        "deterministic" if config.architecture == "ae-mlp" else "diagonal-gaussian"
    )
    encoder = MlpEncoder(
        math.prod(image_shape), config, with_log_var=posterior == "diagonal-gaussian"
    )
    decoder = MlpDecoder(image_shape, config)
    return Autoencoder(encoder, decoder, image_shape, latent_shape, posterior)
