"""The results of calls.

Arrays are read-only: where a call was not split, they are views over the bytes received, and keep
the whole message alive. Copy one to write to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens import sheets
from latens.models import Model

Floats = NDArray[np.float32]
Images = NDArray[Any]
"""`[n, channels, height, width]`, float32 in [0, 1] or uint8 in 0..255. Of a model of another
modality: its items, float32 `[n, *image_shape]`."""

SCORE_SAMPLES = 256
"""The default number of importance samples per image; what it gives is in `docs/scores.md`."""
_FEWEST_EFFECTIVE_SAMPLES = 4.0

_SHOWN_IMAGES = 256


class Result:
    """What the results of calls share: a short representation."""

    version: str

    def __repr__(self) -> str:
        parts = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            shown = _summary(value) if isinstance(value, np.ndarray) else repr(value)
            parts.append(f"{field.name}={shown}")
        return f"{type(self).__name__}({', '.join(parts)})"


class DataResult(Result):
    """What the results with images share: a picture in notebooks."""

    images: Images

    @property
    def items(self) -> Images:
        """The same array, by its name for a model whose data are no images."""
        return self.images

    def _repr_png_(self) -> bytes | None:
        """A contact sheet of the images for notebooks; None if there is nothing to show."""
        images = self.images
        if not images.size or images.ndim < 4 or images.shape[-3] not in (1, 3):
            return None
        columns = images.shape[-4] if images.ndim > 4 else None
        flat = images.reshape(-1, *images.shape[-3:])[:_SHOWN_IMAGES]
        pixels = sheets.as_bytes(flat)
        sheet = sheets.sheet(pixels, columns)
        return sheets.png(sheets.enlarged(sheet, sheets.tile_scale(pixels)))


def _summary(array: NDArray[Any]) -> str:
    """Type, shape and range of an array, as in `float32 [16, 2] in -1.93..2.08`."""
    shown = f"{array.dtype} {list(array.shape)}"
    if not array.size:
        return shown
    low, high = float(array.min()), float(array.max())
    exact = array.dtype.kind in "iu" or not (math.isfinite(low) and math.isfinite(high))
    return f"{shown} in {low:g}..{high:g}" if exact else f"{shown} in {low:.3g}..{high:.3g}"


@dataclass(frozen=True, eq=False, repr=False)
class Encoding(Result):
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


@dataclass(frozen=True, eq=False, repr=False)
class Codes(Result):
    """The codes of each image, for a model with a codebook."""

    codes: NDArray[np.int64]
    """`[n, *latent_shape]`, from 0 to the codebook's size minus 1."""
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True, eq=False, repr=False)
class Decoding(DataResult):
    """The image of each latent: the mean of p(x|z)."""

    images: Images
    latents: Floats | None
    """What was decoded, `[n, *latent_shape]`, when attributes were added; else None."""
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction(DataResult):
    """Images encoded and decoded again, and what was lost."""

    images: Images
    latents: NDArray[Any]
    """What was decoded, `[n, *latent_shape]`; the codes, int64, of a model with a codebook."""
    reconstruction: Floats
    """-log p(x|z) at the latent decoded, `[n]`, nats."""
    kl: Floats | None
    """KL(q(z|x) || p(z)), `[n]`, nats; None for a plain autoencoder."""
    seed: int | None
    """The seed of the draws; None when the means were decoded."""
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True, eq=False, repr=False)
class Traversal(DataResult):
    """The images along lines through base points, one line an axis."""

    images: Images
    """`[n, axes, steps, channels, height, width]`."""
    latents: Floats
    """`[n, axes, steps, *latent_shape]`."""
    axes: tuple[int | str, ...]
    """What was followed: coordinates by number, attributes by name."""
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True, eq=False, repr=False)
class Inpainting(DataResult):
    """Images with their missing pixels filled."""

    images: Images
    latents: Floats
    """The last latents of the chains, `[n, *latent_shape]`."""
    seed: int
    """The seed of the chains."""
    version: str
    """The version of the model that answered."""


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Result):
    """How probable the model finds images; the lower, the stranger."""

    bound: Floats
    """The importance-weighted lower bound of log p(x), `[n]`, nats."""
    standard_error: Floats | None
    """The error of each bound from the choice of samples, `[n]`, nats; None for one sample."""
    effective_samples: Floats
    """How many samples of equal weight would be as good, `[n]`; see `dominated`."""
    seed: int
    """The seed of the samples."""
    version: str
    """The version of the model that answered."""

    @property
    def dominated(self) -> NDArray[np.bool_]:
        """Whether one sample outweighs the rest, `[n]`: these bounds depend on the seed.

        More samples help.
        """
        return np.asarray(self.effective_samples < _FEWEST_EFFECTIVE_SAMPLES)


@dataclass(frozen=True, eq=False, repr=False)
class Samples(DataResult):
    """Images of latents drawn from the prior."""

    images: Images
    latents: Floats
    """`[n, *latent_shape]`."""
    seed: int
    """The seed of the noise: with it, the same samples can be had again."""
    version: str
    """The version of the model that answered."""
    labels: NDArray[np.int64] | None = None
    """The class of each image, `[n]`; None unless the model is conditional."""


@dataclass(frozen=True, eq=False, repr=False)
class Paths(DataResult):
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
