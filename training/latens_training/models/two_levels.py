"""Two codebooks: a coarse level for the whole, and a fine one that knows the coarse one's codes.

Razavi, van den Oord and Vinyals, "Generating Diverse High-Fidelity Images with VQ-VAE-2" (2019),
section 3.1. The paper's prior over codes is a network of its own and not part of it.

Latents and codes of both levels are flat here, the coarse level first: latents [n, L], codes
[n, places]. Codes of the fine level follow those of the coarse one: K to 2K - 1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from latens_training.models.resnet import ResnetDecoder, ResnetEncoder, Shape
from latens_training.models.vector_quantization import Quantizer


class Level(NamedTuple):
    """The latent of one level."""

    channels: int
    rows: int
    columns: int

    @property
    def places(self) -> int:
        return self.rows * self.columns

    @property
    def size(self) -> int:
        return math.prod(self)


class TwoLevelQuantizer(nn.Module):
    """A `Quantizer` per level, with flat latents and codes."""

    def __init__(self, codebook_size: int, coarse: Level, fine: Level) -> None:
        super().__init__()
        self.levels = (coarse, fine)
        self.coarse = Quantizer(codebook_size, coarse.channels)
        self.fine = Quantizer(codebook_size, fine.channels)
        self.codebook_size = 2 * codebook_size

    def code_shape(self, latent_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the codes of one latent."""
        del latent_shape
        return (sum(level.places for level in self.levels),)

    def codes_of(self, latents: Tensor) -> Tensor:
        """Latents [n, L] to the numbers of the nearest vectors, int64 [n, places]."""
        coarse, fine = self.apart(latents)
        first, second = self.coarse.codes_of(coarse), self.fine.codes_of(fine)
        return torch.cat([first.flatten(1), second.flatten(1) + self.fine.codebook_size], 1)

    def vectors_of(self, codes: Tensor) -> Tensor:
        """Codes [n, places] to their vectors, [n, L]."""
        parts = torch.split(codes, [level.places for level in self.levels], 1)
        grids = [
            torch.unflatten(part, 1, level[1:]) % self.fine.codebook_size
            for part, level in zip(parts, self.levels, strict=True)
        ]
        vectors = [self.coarse.vectors_of(grids[0]), self.fine.vectors_of(grids[1])]
        return torch.cat([part.flatten(1) for part in vectors], 1)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents to the nearest vectors; gradients pass as if nothing had been replaced."""
        coarse, fine = self.apart(latents)
        return torch.cat([self.coarse(coarse).flatten(1), self.fine(fine).flatten(1)], 1)

    def apart(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [n, L] to those of each level, [n, channels, rows, columns]."""
        coarse, fine = torch.split(latents, [level.size for level in self.levels], 1)
        first, second = self.levels
        return torch.unflatten(coarse, 1, first), torch.unflatten(fine, 1, second)


class TwoLevelEncoder(nn.Module):
    """The fine level of an image, given the codes of its coarse level."""

    def __init__(self, image_channels: int, shape: Shape, quantizer: TwoLevelQuantizer) -> None:
        super().__init__()
        width, channels = shape.channels[-1], shape.latent_channels
        self.features = ResnetEncoder(
            image_channels, shape._replace(latent_channels=width), with_log_var=False
        )
        self.coarse = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        self.enlarged = nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1)
        self.fine = nn.Conv2d(2 * width, channels, 3, padding=1)
        # The decoder owns it; as a submodule its weights would be saved and trained twice.
        self._shared = [quantizer]

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Images [n, c, h, w] in [0, 1] to latents [n, L], and no log-variance."""
        features, _ = self.features(images)
        coarse = self.coarse(features)
        known = self.enlarged(self._shared[0].coarse(coarse))
        fine = self.fine(torch.cat([features, known], 1))
        return torch.cat([coarse.flatten(1), fine.flatten(1)], 1), None


class TwoLevelDecoder(nn.Module):
    """Vectors of both levels to what the likelihood reads."""

    def __init__(self, decoder_channels: int, shape: Shape, quantizer: TwoLevelQuantizer) -> None:
        super().__init__()
        channels = shape.latent_channels
        self.enlarged = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)
        self.decoder = ResnetDecoder(decoder_channels, shape._replace(latent_channels=2 * channels))
        self._shared = [quantizer]

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors [n, L] to [n, channels of the likelihood, h, w]."""
        coarse, fine = self._shared[0].apart(vectors)
        decoded: Tensor = self.decoder(torch.cat([self.enlarged(coarse), fine], 1))
        return decoded
