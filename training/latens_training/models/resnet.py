"""Residual encoder and decoder with spatial latents [channels, h / f, w / f].

The shape of latent diffusion's autoencoder (Rombach et al. 2022, appendix G; Esser et al. 2021)
without its attention: residual blocks with group normalisation and SiLU, strided convolutions down,
nearest-neighbour enlargement up. Any image whose sides are multiples of the downsampling fits.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from latens_training.errors import UsageError

if TYPE_CHECKING:
    from latens_training.models.autoencoder import ImageShape

_MOST_GROUPS = 8
_MOST_WIDENING = 4
_LEAST_LOG_VAR, _MOST_LOG_VAR = -30.0, 20.0


class Shape(NamedTuple):
    """The sizes that encoder and decoder share."""

    latent_channels: int
    channels: tuple[int, ...]
    """At each size, the full one first."""
    blocks: int

    @classmethod
    def of(
        cls,
        image_shape: ImageShape,
        latent_channels: int,
        downsampling: int,
        width: int,
        blocks: int,
    ) -> Shape:
        """The sizes of the options.

        Raises:
            UsageError: the downsampling is no power of 2, or does not divide the sides.
        """
        halvings = downsampling.bit_length() - 1
        if downsampling != 1 << halvings:
            raise UsageError(f"downsampling: expected a power of 2, got {downsampling}")
        _, height, columns = image_shape
        if height % downsampling or columns % downsampling:
            raise UsageError(
                f"downsampling: {downsampling} does not divide the sides of the images, "
                f"{height} x {columns}; --image-size fits the pictures of a folder"
            )
        widths = (width * min(2**level, _MOST_WIDENING) for level in range(halvings + 1))
        return cls(latent_channels, tuple(widths), blocks)


class ResnetEncoder(nn.Module):
    """Residual blocks at each size, then the mean and log variance of each place."""

    def __init__(self, image_channels: int, shape: Shape, *, with_log_var: bool = True) -> None:
        super().__init__()
        self.with_log_var = with_log_var
        first, last = shape.channels[0], shape.channels[-1]
        layers: list[nn.Module] = [nn.Conv2d(image_channels, first, 3, padding=1)]
        for inputs, outputs in pairwise(shape.channels):
            layers += _blocks(inputs, shape.blocks)
            layers.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1))
        layers += [*_blocks(last, shape.blocks + 1), _norm(last), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        outputs = (1 + with_log_var) * shape.latent_channels
        self.parameters_of_posterior = nn.Conv2d(last, outputs, 3, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images [n, c, h, w] in [0, 1] to mean and log-variance [n, channels, h / f, w / f].

        The log-variance is None if the encoder has none.
        """
        both = self.parameters_of_posterior(self.body(2 * images - 1))
        if not self.with_log_var:
            return both, None
        mean, log_var = torch.chunk(both, 2, dim=1)
        return mean, log_var.clamp(_LEAST_LOG_VAR, _MOST_LOG_VAR)


class ResnetDecoder(nn.Module):
    """Residual blocks at each size, the smallest first, to the likelihood's values."""

    def __init__(self, decoder_channels: int, shape: Shape) -> None:
        super().__init__()
        sizes = shape.channels[::-1]
        layers: list[nn.Module] = [nn.Conv2d(shape.latent_channels, sizes[0], 3, padding=1)]
        layers += _blocks(sizes[0], shape.blocks + 1)
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Upsample(scale_factor=2.0), nn.Conv2d(inputs, outputs, 3, padding=1)]
            layers += _blocks(outputs, shape.blocks)
        layers += [_norm(sizes[-1]), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.output = nn.Conv2d(sizes[-1], decoder_channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [n, channels, h / f, w / f] to [n, channels of the likelihood, h, w]."""
        decoded: Tensor = self.output(self.body(latents))
        return decoded


class ResidualBlock(nn.Module):
    """Two convolutions, each after normalisation and SiLU, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            _norm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        added: Tensor = inputs + self.body(inputs)
        return added


def _blocks(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(count)]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, _MOST_GROUPS), channels)
