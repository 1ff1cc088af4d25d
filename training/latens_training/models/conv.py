"""Encoder and decoder of strided convolutions for images of 32 to 256 pixels.

The network of Burgess et al., "Understanding disentangling in beta-VAE" (2018), appendix A.1: four
convolutions of 32 channels, kernel 4 and stride 2 for 64 x 64 pixels, then two layers of 256. Other
sizes have as many convolutions as halve both sides to no less than 4.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from latens_training.errors import UsageError

if TYPE_CHECKING:
    from latens_training.models.autoencoder import ImageShape

_LEAST_SIDE, _MOST_SIDE, _MULTIPLE = 32, 256, 8
_LEAST_FEATURES_SIDE = 4
_DENSE = 256


class ConvEncoder(nn.Module):
    """Strided convolutions, two dense layers, then the mean and log-variance heads."""

    def __init__(self, image_shape: ImageShape, latent_size: int, width: int) -> None:
        super().__init__()
        halvings = _halvings(image_shape)
        layers: list[nn.Module] = []
        channels = image_shape[0]
        for _ in range(halvings):
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.ReLU()]
            channels = width
        features = _features(image_shape, halvings, width)
        self.body = nn.Sequential(*layers, nn.Flatten(), *_dense(features, _DENSE, _DENSE))
        self.mean = nn.Linear(_DENSE, latent_size)
        self.log_var = nn.Linear(_DENSE, latent_size)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [n, c, h, w] in [0, 1] to mean and log-variance [n, latent_size]."""
        features = self.body(images)
        return self.mean(features), self.log_var(features)


class ConvDecoder(nn.Module):
    """The encoder in reverse order, to the likelihood's values."""

    def __init__(self, output_shape: ImageShape, latent_size: int, width: int) -> None:
        super().__init__()
        halvings = _halvings(output_shape)
        channels, height, width_of_image = output_shape
        small = (width, height >> halvings, width_of_image >> halvings)
        features = _features(output_shape, halvings, width)
        layers: list[nn.Module] = []
        for place in range(halvings):
            last = place == halvings - 1
            outputs = channels if last else width
            layers.append(nn.ConvTranspose2d(width, outputs, 4, stride=2, padding=1))
            layers += [] if last else [nn.ReLU()]
        self.body = nn.Sequential(
            *_dense(latent_size, _DENSE, _DENSE, features), nn.Unflatten(1, small), *layers
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [n, latent_size] to [n, channels, h, w]."""
        decoded: Tensor = self.body(latents)
        return decoded


def _dense(*sizes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return layers


def _features(image_shape: ImageShape, halvings: int, width: int) -> int:
    return width * (image_shape[1] >> halvings) * (image_shape[2] >> halvings)


def _halvings(image_shape: ImageShape) -> int:
    """How often both sides can be halved.

    Raises:
        UsageError: a side is no multiple of 8 from 32 to 256.
    """
    sides = image_shape[1:]
    if any(side % _MULTIPLE or not _LEAST_SIDE <= side <= _MOST_SIDE for side in sides):
        raise UsageError(
            f"model: conv takes images whose sides are multiples of {_MULTIPLE} from {_LEAST_SIDE} "
            f"to {_MOST_SIDE}, these are {sides[0]} x {sides[1]}; --image-size fits the pictures "
            "of a folder"
        )
    count = 0
    while all(
        (side >> count) % 2 == 0 and side >> (count + 1) >= _LEAST_FEATURES_SIDE for side in sides
    ):
        count += 1
    return count
