"""Contact sheets of images, frames for an animation, and PNG files without Pillow."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_TILE = 64
"""About how many pixels per side an image gets when no scale is asked for."""
_FRAME = 256
_GAP_COLOUR = 96


def as_bytes(images: NDArray[Any]) -> Pixels:
    """Images as uint8 in 0..255, from that or from floats in [0, 1]."""
    if images.dtype == np.uint8:
        return images
    pixels: Pixels = np.rint(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)
    return pixels


def sheet(images: Pixels, columns: int | None = None, gap: int = 1) -> Pixels:
    """Arranges images `[n, channels, height, width]` in rows: `[height, width, channels]`.

    Args:
        images: at least one.
        columns: images per row; about a square if None.
        gap: pixels of grey between images.
    """
    count, channels, height, width = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    lines = math.ceil(count / columns)
    whole = np.full(
        (lines * (height + gap) - gap, columns * (width + gap) - gap, channels),
        _GAP_COLOUR,
        np.uint8,
    )
    for number, image in enumerate(images):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        whole[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return whole


def enlarged(picture: Pixels, scale: int) -> Pixels:
    """Enlarges each pixel to a square of `scale` pixels per side."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def tile_scale(images: Pixels) -> int:
    """The scale that makes the images of a sheet large enough to look at."""
    return max(1, round(_TILE / float(max(images.shape[-2:]))))


def frame_scale(picture: Pixels) -> int:
    """The scale that makes one picture large enough to look at."""
    return max(1, round(_FRAME / float(max(picture.shape[:2]))))


def beside(above: Pixels, below: Pixels, columns: int | None) -> tuple[Pixels, int]:
    """Interleaves two batches by rows: in a sheet each image has its counterpart below it."""
    count = len(above)
    columns = min(columns or min(count, 16), count)
    lines: list[Pixels] = []
    for start in range(0, count, columns):
        for batch in (above, below):
            line = batch[start : start + columns]
            blank = np.full((columns - len(line), *line.shape[1:]), _GAP_COLOUR, np.uint8)
            lines += [line, blank]
    return np.concatenate(lines), columns


def png(picture: Pixels) -> bytes:
    """A PNG file of a picture `[height, width, channels]` in grey or RGB."""
    height, width, channels = picture.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    rows = picture.reshape(height, width * channels)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    parts = (
        _png_chunk(b"IHDR", header),
        _png_chunk(b"IDAT", zlib.compress(unfiltered.tobytes())),
        _png_chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum
