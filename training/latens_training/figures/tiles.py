"""Images as tiles of a sheet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BACKGROUND = 255


def to_pixels(images: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Images [n, c, h, w], uint8 or float in [0, 1], as uint8 [n, h, w, 1 or 3].

    Three channels are red, green and blue; any other number is shown as its mean, in grey.
    """
    if images.dtype != np.uint8:
        images = np.rint(np.clip(images.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    if images.shape[1] not in (1, 3):
        images = np.rint(images.mean(axis=1, keepdims=True)).astype(np.uint8)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1), dtype=np.uint8)


def scaled(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Tiles [n, h, w, c] with their longer side near `size` pixels.

    Small ones grow by a whole factor, so that each pixel stays a square; large ones are averaged.
    """
    longer = max(pixels.shape[1:3])
    if longer <= size:
        factor = size // longer
        return pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = (max(1, round(side * size / longer)) for side in pixels.shape[1:3])
    shrunk = [_resized(tile, width, height) for tile in pixels]
    return np.stack(shrunk)


def sheet(pixels: NDArray[np.uint8], columns: int, gap: int = 0) -> NDArray[np.uint8]:
    """Lays tiles [n, h, w, c] out row by row; [rows * (h + gap) - gap, ..., c], white between."""
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, channels)
    canvas = np.full(shape, BACKGROUND, dtype=np.uint8)
    for index, tile in enumerate(pixels):
        top = (index // columns) * (height + gap)
        left = (index % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def _resized(tile: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    grey = tile.shape[-1] == 1
    image = Image.fromarray(tile[..., 0] if grey else tile)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BOX))
    return resized[..., None] if grey else resized
