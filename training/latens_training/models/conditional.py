"""Networks that know the class of each image, made of any network with a latent vector.

The conditional VAE of Sohn, Lee and Yan, "Learning Structured Output Representation using Deep
Conditional Generative Models" (2015), with the class as the condition: q(z|x, y) and p(x|z, y). The
encoder sees the class as one more channel of the image, which is learnt for each class; the decoder
as a one-hot vector behind the latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_PLANE_SCALE = 0.1
"""Of the first values of the added channel: pixels of most images have such a variance."""


class ConditionalEncoder(nn.Module):
    """An encoder of images with one channel more, which depends on the class."""

    def __init__(self, encoder: nn.Module, label_count: int, height: int, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.size = (height, width)
        self.planes = nn.Embedding(label_count, height * width)
        nn.init.normal_(self.planes.weight, std=_PLANE_SCALE)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, Tensor | None]:
        """Images [n, c, h, w] and labels int64 [n] to what the encoder gives."""
        planes = self.planes(labels).unflatten(1, (1, *self.size))
        encoded: Tensor | tuple[Tensor, Tensor | None]
        encoded = self.encoder(torch.cat([images, planes], 1))
        return encoded


class ConditionalDecoder(nn.Module):
    """A decoder of latent vectors with a place more for each class."""

    def __init__(self, decoder: nn.Module, label_count: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.label_count = label_count

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Latents [n, L] and labels int64 [n] to what the decoder gives."""
        classes = functional.one_hot(labels, self.label_count).to(latents.dtype)
        decoded: Tensor = self.decoder(torch.cat([latents, classes], 1))
        return decoded
