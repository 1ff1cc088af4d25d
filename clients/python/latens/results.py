"""What the calls return.

Arrays are read-only: where a call was not split, they are views over the bytes received, and keep
the whole message alive. Copy one to write to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens.models import Model

Floats = NDArray[np.float32]
Images = NDArray[Any]
"""`[n, channels, height, width]`, float32 in [0, 1] or uint8 in 0..255."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """The approximate posterior q(z|x) of each image."""

    mean: Floats
    """`[n, *latent_shape]`."""
    log_var: Floats | None
    """Natural logarithm of the variance, `[n, *latent_shape]`; None for a plain autoencoder."""
    latents: Floats | None
    """Draws from q(z|x), `[n, *latent_shape]`; None when none were asked for."""
    seed: int | None
    """The seed of the draws."""
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True, eq=False)
class Decoding:
    """The image of each latent: the mean of p(x|z)."""

    images: Images
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Images of latents drawn from the prior."""

    images: Images
    latents: Floats
    """`[n, *latent_shape]`."""
    seed: int
    """The seed of the noise: with it, the same samples can be had again."""
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True, eq=False)
class Paths:
    """The images along paths through the latent space."""

    images: Images
    """`[n, steps, channels, height, width]`."""
    latents: Floats
    """`[n, steps, *latent_shape]`."""
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True)
class Models:
    """The models that a server holds, those that it refused included."""

    models: tuple[Model, ...]
    """By name, then by version, newest first."""
    default: str
    """The name that an empty model name means."""
