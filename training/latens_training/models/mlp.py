"""Encoder and decoder of fully connected layers.

With one hidden layer of 400 they are the article's; Burda et al. (2015) use 200, 200 and tanh.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from latens_training.config import ModelConfig

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class MlpEncoder(nn.Module):
    """Hidden layers, then one head for the mean and, if asked for, one for the log-variance.

    The mean has no activation: a ReLU there, as in the article's listing of the plain
    autoencoder, kills a 2-d code (both units dead and a constant output for half of the seeds;
    205.9 nats per test image against 142.2).
    """

    def __init__(self, pixels: int, config: ModelConfig, *, with_log_var: bool) -> None:
        super().__init__()
        self.body = _hidden_layers(pixels, config.hidden, config.activation)
        self.mean = nn.Linear(config.hidden[-1], config.latent_size)
        self.log_var = nn.Linear(config.hidden[-1], config.latent_size) if with_log_var else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [n, c, h, w] in [0, 1] to mean and log-variance [n, latent_size]."""
        hidden = self.body(images.flatten(1))
        return self.mean(hidden), None if self.log_var is None else self.log_var(hidden)


class MlpDecoder(nn.Module):
    """Hidden layers in the encoder's reverse order, then one logit per pixel."""

    def __init__(self, image_shape: tuple[int, int, int], config: ModelConfig) -> None:
        super().__init__()
        sizes = config.hidden[::-1]
        self.image_shape = image_shape
        self.body = _hidden_layers(config.latent_size, sizes, config.activation)
        self.logits = nn.Linear(sizes[-1], math.prod(image_shape))

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [n, latent_size] to logits [n, c, h, w]."""
        logits: Tensor = self.logits(self.body(latents))
        return logits.view(-1, *self.image_shape)


def _hidden_layers(inputs: int, sizes: tuple[int, ...], activation: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(inputs, size), _ACTIVATIONS[activation]()]
        inputs = size
    return nn.Sequential(*layers)
