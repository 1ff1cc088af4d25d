"""From the images of an input to those of a model, by rules that the output records."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latens import pictures
from latens_bulk.errors import BadDataError

FitRule: TypeAlias = Literal["exact", "pad", "crop", "resize"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The images of a block that could be read, and the reasons for the others."""

    images: NDArray[Any]
    """`[n, channels, height, width]`, uint8 or float32 in [0, 1]."""
    sizes: NDArray[np.int64]
    """Height and width of each image before it was fitted, `[n, 2]`."""
    kept: list[int]
    """The positions in the block of the images that could be read."""
    failures: list[tuple[int, str]]
    """The position in the block and the reason, for each of the others."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How images are brought to the shape of a model's images."""

    image_shape: tuple[int, ...]
    fit: FitRule = "exact"
    """`exact` takes images of the model's size alone; the others are those of `latens.pictures`."""

    def record(self) -> dict[str, Any]:
        """The rules, as outputs and cache keys hold them."""
        return {
            "image_shape": list(self.image_shape),
            "fit": self.fit,
            "resampling": "none" if self.fit == "exact" else "lanczos",
            "colour": "grey by BT.601" if self.image_shape[0] == 1 else "rgb",
            "exif_orientation": "applied",
            "alpha": "on black",
        }

    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Reads picture files. A picture that cannot be read is among the failures."""
        images, sizes, kept, failures = [], [], [], []
        for position, content in enumerate(contents):
            try:
                image, size = self._picture(content)
            except BadDataError as error:
                failures.append((position, str(error)))
            else:
                images.append(image)
                sizes.append(size)
                kept.append(position)
        stacked = np.stack(images) if images else np.empty((0, *self.image_shape), np.uint8)
        return Decoded(stacked, np.array(sizes, np.int64).reshape(-1, 2), kept, failures)

    def arrays(self, values: NDArray[Any]) -> Decoded:
        """Images that are arrays already: with or without channels, channels last, or flat.

        Raises:
            BadDataError: they are of another size or type; floats outside 0..1 are failures of
                their rows.
        """
        images = self._shaped(values)
        size = np.tile(np.array(self.image_shape[1:], np.int64), (len(images), 1))
        if images.dtype == np.uint8:
            return Decoded(images, size, list(range(len(images))), [])
        if images.dtype.kind != "f":
            raise BadDataError(f"expected uint8 or floating images, got {images.dtype}")
        images = images.astype(np.float32, copy=False)
        flat = images.reshape(len(images), -1)
        valid = (flat.min(1, initial=0) >= 0) & (flat.max(1, initial=1) <= 1)  # False for NaN
        failures = [(int(row), "expected floats in 0..1") for row in np.flatnonzero(~valid)]
        return Decoded(images[valid], size[valid], np.flatnonzero(valid).tolist(), failures)

    def _picture(self, content: bytes) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        channels, height, width = self.image_shape
        try:
            pixels = pictures.with_channels(pictures.read(io.BytesIO(content)), channels)
        except pictures.PictureError as error:
            raise BadDataError(str(error).removeprefix("the file: ")) from error
        size = pixels.shape[1], pixels.shape[2]
        if self.fit == "exact":
            if size != (height, width):
                raise BadDataError(
                    f"expected {height} x {width} pixels, got {size[0]} x {size[1]} "
                    "(--fit pad, crop or resize changes sizes)"
                )
            return pixels, size
        return pictures.fitted(pixels, height, width, self.fit), size

    def _shaped(self, values: NDArray[Any]) -> NDArray[Any]:
        channels, height, width = self.image_shape
        row = values.shape[1:]
        if row == self.image_shape:
            return values
        if row == (height, width, channels):
            return np.moveaxis(values, -1, 1)
        if (channels == 1 and row == (height, width)) or row == (math.prod(self.image_shape),):
            return values.reshape(-1, *self.image_shape)
        raise BadDataError(
            f"expected images of {list(self.image_shape)}, got rows of {list(row)} "
            "(arrays are never resized)"
        )
