"""The loss of a VQ-VAE (van den Oord et al. 2017, equation 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from latens_training.errors import UsageError

if TYPE_CHECKING:
    from latens_training.models.autoencoder import Autoencoder
    from latens_training.objectives.batch import Batch, Terms


class VectorQuantization:
    """Reconstruction, and twice the distance of latents from their nearest vectors.

    The one moves the vectors to the latents, the other, the commitment, the latents to the vectors.
    """

    def __init__(self, model: Autoencoder, commitment: float) -> None:
        """Takes the model, whose decoder has a codebook.

        Raises:
            UsageError: it has none.
        """
        quantizer = model.quantizer
        if quantizer is None:
            raise UsageError("objective: vq is for models with a codebook, as vq-vae")
        self._quantizer = quantizer
        self._commitment = commitment

    def __call__(self, batch: Batch) -> Terms:
        latents = batch.output.mean
        codes = self._quantizer.codes_of(latents)
        nearest = self._quantizer.vectors_of(codes)
        codebook = (nearest - latents.detach()).square().flatten(1).sum(1)
        commitment = (latents - nearest.detach()).square().flatten(1).sum(1)
        loss = batch.reconstruction + codebook + self._commitment * commitment
        counts = torch.bincount(codes.flatten(), minlength=self._quantizer.codebook_size)
        perplexity = perplexity_of(counts)
        return batch.terms(
            loss, commitment=commitment, codebook_perplexity=perplexity.expand(len(latents))
        )


def perplexity_of(counts: torch.Tensor) -> torch.Tensor:
    """How many codes are used, by the entropy of their frequencies: 1 to K.

    Args:
        counts: how often each code was used, [K].
    """
    share = counts.float() / counts.sum().clamp_min(1)
    return torch.exp(-(share * share.clamp_min(1e-12).log()).sum())
