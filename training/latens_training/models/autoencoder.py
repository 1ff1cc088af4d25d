"""The autoencoders: an encoder and a decoder as separate modules, and how they are built.

The networks are those of Penkovsky's "Day 9: Roaming face vectors" (10 days of grad), with their
sizes as settings; Burda et al. (2015) is the MLP with hidden sizes 200, 200 and tanh.
No loss is computed here: see `latens_training.objectives.elbo`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from latens_training.models.conv import ConvDecoder, ConvEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from latens_training.config import ModelConfig

Posterior = Literal["diagonal-gaussian", "point"]
ImageShape = tuple[int, int, int]

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class MlpEncoder(nn.Module):
    """Flatten, hidden layers, then the mean and (unless a point is asked for) log-variance heads.

    There is no activation at the code: a ReLU there, as the article's listing of the plain
    autoencoder has it, kills a 2-d code (both units dead and a constant output for half of the
    seeds; 205.9 nats a test image against 142.2).
    """

    def __init__(self, pixels: int, config: ModelConfig, posterior: Posterior) -> None:
        super().__init__()
        self.body = _hidden_layers(pixels, config.hidden, config.activation)
        self.mean = nn.Linear(config.hidden[-1], config.latent_size)
        self.log_var = (
            nn.Linear(config.hidden[-1], config.latent_size)
            if posterior == "diagonal-gaussian"
            else None
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [n, c, h, w] in [0, 1] to mean and log-variance [n, latent_size]."""
        hidden = self.body(images.flatten(1))
        return self.mean(hidden), None if self.log_var is None else self.log_var(hidden)


class MlpDecoder(nn.Module):
    """Hidden layers in the encoder's reverse order, then one logit a pixel."""

    def __init__(self, image_shape: ImageShape, config: ModelConfig) -> None:
        super().__init__()
        sizes = config.hidden[::-1]
        self.image_shape = image_shape
        self.body = _hidden_layers(config.latent_size, sizes, config.activation)
        self.logits = nn.Linear(sizes[-1], math.prod(image_shape))

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [n, latent_size] to logits [n, c, h, w]."""
        logits: Tensor = self.logits(self.body(latents))
        return logits.view(-1, *self.image_shape)


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

        `log_var` is None where the posterior is a point.
        """
        posterior: tuple[Tensor, Tensor | None] = self.encoder(images)
        return posterior

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [n, *latent_shape] to logits [n, c, h, w]; their sigmoid is the image."""
        logits: Tensor = self.decoder(latents)
        return logits

    def forward(
        self, images: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Encodes, draws latents with the given standard normal noise, and decodes.

        Args:
            images: [n, c, h, w] in [0, 1].
            noise: [k, n, *latent_shape], k draws an image; ignored where the posterior is a point.

        Returns:
            Logits [k, n, c, h, w], latents [k, n, *latent_shape], mean and log_var
            [n, *latent_shape].
        """
        mean, log_var = self.encode(images)
        latents = reparameterize(mean, log_var, noise)
        logits = self.decode(latents.flatten(0, 1)).view(*latents.shape[:2], *self.image_shape)
        return logits, latents, mean, log_var


def reparameterize(mean: Tensor, log_var: Tensor | None, noise: Tensor) -> Tensor:
    """Latents z = mean + sigma * noise (Kingma and Welling 2013, equation 10).

    Args:
        mean: [n, *latent_shape].
        log_var: the same shape, or None for a point: then z is the mean.
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
    posterior: Posterior = "point" if config.architecture == "ae-mlp" else "diagonal-gaussian"
    encoder = MlpEncoder(math.prod(image_shape), config, posterior)
    decoder = MlpDecoder(image_shape, config)
    return Autoencoder(encoder, decoder, image_shape, latent_shape, posterior)


def _hidden_layers(inputs: int, sizes: tuple[int, ...], activation: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(inputs, size), _ACTIVATIONS[activation]()]
        inputs = size
    return nn.Sequential(*layers)
