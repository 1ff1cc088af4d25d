"""The autoencoder: an encoder and a decoder as separate modules, and the likelihood of its images.

The loss is computed elsewhere: see `latens_training.objectives`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from latens_training.likelihoods.continuous import Bernoulli
from latens_training.likelihoods.likelihood import Likelihood
from latens_training.models.vector_quantization import AnyQuantizer, QuantizedDecoder

Posterior = Literal["diagonal-gaussian", "deterministic"]
ImageShape = tuple[int, int, int]


class ForwardOutput(NamedTuple):
    """The outputs of the network for a batch of n images with k draws per image."""

    decoded: Tensor
    """What the decoder gives, [k, n, channels, h, w]; the likelihood reads it."""
    latents: Tensor
    """[k, n, *latent_shape]."""
    mean: Tensor
    """[n, *latent_shape]."""
    log_var: Tensor | None
    """[n, *latent_shape]; None for a deterministic posterior."""


class Autoencoder(nn.Module):
    """An encoder of images into a posterior over latents, and a decoder of latents.

    Attributes:
        encoder: images [n, c, h, w] in [0, 1] to the mean, or to `(mean, log_var)`.
        decoder: latents [n, *latent_shape] to what the likelihood reads.
        likelihood: p(x|z).
        label_count: classes that encoder and decoder know the images by; 0 unless conditional.
            Then both take `labels`, int64 [n], besides.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        image_shape: ImageShape,
        latent_shape: tuple[int, ...],
        posterior: Posterior,
        likelihood: Likelihood | None = None,
        label_count: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.image_shape = image_shape
        self.latent_shape = latent_shape
        self.posterior: Posterior = posterior
        self.likelihood: Likelihood = likelihood or Bernoulli()
        self.label_count = label_count

    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Images [n, c, h, w] in [0, 1] to `(mean, log_var)`, each [n, *latent_shape].

        `log_var` is None for a deterministic posterior.
        """
        return posterior_of(self.encoder(images, *_present(labels)))

    def decode(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents [n, *latent_shape] to what the likelihood reads, [n, channels, h, w]."""
        decoded: Tensor = self.decoder(latents, *_present(labels))
        return decoded

    def images(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents [n, *latent_shape] to images [n, c, h, w] in [0, 1], the mean of p(x|z)."""
        return self.likelihood.mean(self.decode(latents, labels))

    def decode_draws(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Draws of n images, [k, n, *latent_shape], decoded: [k, n, channels, h, w].

        Args:
            latents: the draws.
            labels: of the n images, int64 [n]; for a conditional model.
        """
        repeated = None if labels is None else labels.repeat(len(latents))
        decoded = self.decode(latents.flatten(0, 1), repeated)
        return decoded.reshape(*latents.shape[:2], *decoded.shape[1:])

    @property
    def quantizer(self) -> AnyQuantizer | None:
        """The codebook; None for a model without one."""
        return self.decoder.quantizer if isinstance(self.decoder, QuantizedDecoder) else None

    @property
    def codebook_size(self) -> int | None:
        """The number of codes; None for a model without a codebook."""
        return None if self.quantizer is None else self.quantizer.codebook_size

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of the codes of one image; only for a model with a codebook."""
        return self._quantized().quantizer.code_shape(self.latent_shape)

    def encode_codes(self, images: Tensor) -> Tensor:
        """Images [n, c, h, w] in [0, 1] to codes, int64 [n, *code_shape].

        Only for a model with a codebook, as is `decode_codes`.
        """
        return self._quantized().quantizer.codes_of(self.encode(images)[0])

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Codes, int64 [n, *code_shape], to what the likelihood reads, [n, channels, h, w]."""
        parts = self._quantized()
        decoded: Tensor = parts.decoder(parts.quantizer.vectors_of(codes))
        return decoded

    def _quantized(self) -> QuantizedDecoder:
        if not isinstance(self.decoder, QuantizedDecoder):
            raise TypeError("the model has no codebook")
        return self.decoder

    def forward(self, images: Tensor, noise: Tensor, labels: Tensor | None = None) -> ForwardOutput:
        """Encodes, draws latents with the given standard normal noise, and decodes.

        Args:
            images: [n, c, h, w] in [0, 1].
            noise: [k, n, *latent_shape], k draws per image; a deterministic posterior ignores it.
            labels: the class of each image, int64 [n]; for a conditional model.
        """
        mean, log_var = self.encode(images, labels)
        latents = reparameterize(mean, log_var, noise)
        return ForwardOutput(self.decode_draws(latents, labels), latents, mean, log_var)


def _present(labels: Tensor | None) -> tuple[Tensor, ...]:
    return () if labels is None else (labels,)


def posterior_of(
    encoded: Tensor | tuple[Tensor, ...] | tuple[Tensor, None],
) -> tuple[Tensor, Tensor | None]:
    """`(mean, log_var)` of what an encoder returned: the mean alone, or both."""
    if isinstance(encoded, Tensor):
        return encoded, None
    mean, log_var = encoded
    assert mean is not None
    return mean, log_var


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
