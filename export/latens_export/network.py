"""The network that is exported: an encoder, a decoder, and the shapes between them."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn


class Network(Protocol):
    """An encoder and a decoder that are torch modules. The autoencoders of training are some."""

    encoder: nn.Module
    """Images [n, c, h, w] in [0, 1] to `(mean, log_var)`; log_var is None if deterministic."""
    decoder: nn.Module
    """Latents [n, *latent_shape] to logits [n, c, h, w], whose sigmoid is the image."""
    image_shape: tuple[int, int, int]
    latent_shape: tuple[int, ...]

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]: ...

    def decode(self, latents: Tensor) -> Tensor: ...


class ModulePair(nn.Module):
    """A `Network` of two modules that know nothing of each other."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        image_shape: tuple[int, int, int],
        latent_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.image_shape = image_shape
        self.latent_shape = latent_shape
        self.eval()

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Runs the encoder."""
        posterior: tuple[Tensor, Tensor | None] = self.encoder(images)
        return posterior

    def decode(self, latents: Tensor) -> Tensor:
        """Runs the decoder."""
        logits: Tensor = self.decoder(latents)
        return logits
