"""Latents as callers of diffusers have them, and as the graphs take them.

A pipeline of diffusers holds scaled latents, `(raw - shift) * scale`, and undoes that before it
decodes. Graphs of Latens do the same inside, by the numbers of the model. A caller that names its
numbers holds latents scaled by those; one that names none holds raw latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.spec import ModelSpec, Scaling
from latens_serving.errors import InvalidInputError

Floats = NDArray[np.float32]
_PATCH = 2
"""The edge of the square of latents that Flux packs into one token."""


@dataclass(frozen=True, slots=True)
class CallerScaling:
    """The numbers that a caller names."""

    scale: float | None = None
    shift: float | None = None
    is_models: bool = False
    """Whether the caller leaves the numbers to the server (`do_scaling`)."""

    def to_graph(self, latents: Floats, spec: ModelSpec) -> Floats:
        """The caller's latents as the graphs take them."""
        own = spec.scaling or Scaling()
        if self._is(own):
            return latents
        raw = latents / np.float32(self.scale or 1) + np.float32(self.shift or 0)
        return (raw - np.float32(own.shift)) * np.float32(own.scale)

    def from_graph(self, latents: Floats, spec: ModelSpec) -> Floats:
        """Latents of the graphs as the caller wants them."""
        own = spec.scaling or Scaling()
        if self._is(own):
            return latents
        raw = latents / np.float32(own.scale) + np.float32(own.shift)
        return (raw - np.float32(self.shift or 0)) * np.float32(self.scale or 1)

    def _is(self, own: Scaling) -> bool:
        return self.is_models or ((self.scale or 1) == own.scale and (self.shift or 0) == own.shift)


def unpacked(latents: Floats, height: int, width: int, stride: int) -> Floats:
    """Tokens of Flux as feature maps.

    Args:
        latents: `[n, (height / stride / 2) * (width / stride / 2), 4 * channels]`.
        height: of the image, pixels.
        width: of the image, pixels.
        stride: pixels per latent.

    Returns:
        `[n, channels, height / stride, width / stride]`, each rounded down to a multiple of two.

    Raises:
        InvalidInputError: the tokens are not those of such an image.
    """
    rows, tokens, depth = latents.shape
    down, across = height // (stride * _PATCH), width // (stride * _PATCH)
    if tokens != down * across or depth % _PATCH**2:
        raise InvalidInputError.at(
            "shape",
            f"expected [n, {down * across}, 4 * channels] of packed latents for {width} x {height} "
            f"pixels, got {list(latents.shape)}",
        )
    channels = depth // _PATCH**2
    parts = latents.reshape(rows, down, across, channels, _PATCH, _PATCH)
    maps = parts.transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(maps.reshape(rows, channels, down * _PATCH, across * _PATCH))
