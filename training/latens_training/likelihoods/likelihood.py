"""What a decoder likelihood p(x|z) is."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

PIXEL_AXES = (-3, -2, -1)
"""Channels, rows and columns."""


class ServedLikelihood(NamedTuple):
    """A likelihood by the name that a bundle gives it."""

    name: str
    sigma: float | None = None


class Likelihood(nn.Module):
    """The distribution of an image given a latent; its parameters are what a decoder gives.

    A likelihood owns the link from the decoder's values to its mean. It is a part of the
    autoencoder, so what it learns is trained and saved with it.
    """

    has_logits: ClassVar[bool] = False
    """Whether the sigmoid of the decoder's values is the mean."""

    def channels(self, image_channels: int) -> int:
        """How many values the decoder gives per pixel, for images of so many channels."""
        return image_channels

    def mean(self, decoded: Tensor) -> Tensor:
        """The image: the decoder's values [..., channels(c), h, w] to [..., c, h, w] in [0, 1]."""
        raise NotImplementedError

    def negative_log_p(self, decoded: Tensor, targets: Tensor) -> Tensor:
        """-log p(x|z), nats per image.

        Args:
            decoded: the decoder's values, [..., n, channels(c), h, w].
            targets: images [n, c, h, w] in [0, 1].

        Returns:
            [..., n].
        """
        raise NotImplementedError

    @property
    def served(self) -> ServedLikelihood | None:
        """The likelihood that a server can compute from the mean alone; None if it cannot."""
        return None
