"""What a training run's model becomes: modules of one input, as graphs have it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class TrainedModel(Protocol):
    """What is needed of `latens_training.models.autoencoder.Autoencoder`."""

    @property
    def likelihood(self) -> Any: ...
    def encode_codes(self, images: Tensor, /) -> Tensor: ...
    def decode_codes(self, codes: Tensor, /) -> Tensor: ...


class MeanDecoder(nn.Module):
    """Latents to the mean of p(x|z), for likelihoods whose mean is no sigmoid."""

    def __init__(self, decoder: nn.Module, model: TrainedModel) -> None:
        super().__init__()
        self.decoder = decoder
        self.likelihood = model.likelihood

    def forward(self, latents: Tensor) -> Tensor:
        """[n, *latent_shape] to [n, c, h, w] in [0, 1]."""
        data: Tensor = self.likelihood.mean(self.decoder(latents))
        return data


class CodeEncoder(nn.Module):
    """Images to the codes of a codebook."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """[n, c, h, w] in [0, 1] to int64 [n, rows, columns]."""
        return self.model.encode_codes(images)


class CodeDecoder(nn.Module):
    """Codes to what the likelihood reads."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, codes: Tensor) -> Tensor:
        """int64 [n, rows, columns] to [n, channels, h, w]."""
        return self.model.decode_codes(codes)
