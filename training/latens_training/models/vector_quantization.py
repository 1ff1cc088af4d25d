"""A codebook between encoder and decoder: latents are replaced by the nearest of K vectors.

Van den Oord, Vinyals and Kavukcuoglu, "Neural Discrete Representation Learning" (2017), section 3.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Quantizer(nn.Module):
    """K vectors, and the way from latents to the nearest of them.

    The vectors begin as latents of the first batch: drawn at random, most would never be nearest.
    """

    begun: Tensor

    def __init__(self, codebook_size: int, channels: int) -> None:
        super().__init__()
        self.codebook_size = codebook_size
        bound = 1 / codebook_size
        self.vectors = nn.Parameter(torch.empty(codebook_size, channels).uniform_(-bound, bound))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))

    def code_shape(self, latent_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the codes of one latent."""
        return latent_shape[1:]

    def codes_of(self, latents: Tensor) -> Tensor:
        """Latents [n, channels, h, w] to the numbers of the nearest vectors, int64 [n, h, w]."""
        places = latents.permute(0, 2, 3, 1)
        distances = self.vectors.square().sum(1) - 2 * places @ self.vectors.T
        return distances.argmin(-1)

    def vectors_of(self, codes: Tensor) -> Tensor:
        """Codes [n, h, w] to their vectors, [n, channels, h, w]."""
        return functional.embedding(codes, self.vectors).permute(0, 3, 1, 2)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents to the nearest vectors; gradients pass as if nothing had been replaced."""
        if self.training and not self.begun:
            self._begin(latents.detach())
        nearest = self.vectors_of(self.codes_of(latents))
        return latents + (nearest - latents).detach()

    @torch.no_grad()
    def _begin(self, latents: Tensor) -> None:
        places = latents.permute(0, 2, 3, 1).flatten(0, 2)
        chosen = torch.linspace(0, len(places) - 1, self.codebook_size, device=places.device)
        spread = (
            places.std(0) * 0.01 * torch.linspace(-1, 1, self.codebook_size)[:, None].to(places)
        )
        self.vectors.copy_(places[chosen.round().long()] + spread)  # none equals another
        self.begun.fill_(True)


class AnyQuantizer(Protocol):
    """What models and objectives need of a codebook, or of several: see `Quantizer`."""

    codebook_size: int

    def code_shape(self, latent_shape: tuple[int, ...]) -> tuple[int, ...]: ...
    def codes_of(self, latents: Tensor) -> Tensor: ...
    def vectors_of(self, codes: Tensor) -> Tensor: ...
    def __call__(self, latents: Tensor) -> Tensor: ...


class QuantizedDecoder(nn.Module):
    """A decoder that replaces latents by the nearest vectors first."""

    def __init__(self, quantizer: AnyQuantizer, decoder: nn.Module) -> None:
        super().__init__()
        self.quantizer: AnyQuantizer = quantizer
        self.decoder = decoder

    def forward(self, latents: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.quantizer(latents))
        return decoded
