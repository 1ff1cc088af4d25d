"""Converts images between float32 in [0, 1], bytes 0..255 and the element type of a request."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens.v1 import latens_pb2 as pb

_BYTE = np.dtype(np.uint8)


def as_pixels(images: NDArray[np.float32], dtype: int) -> NDArray[Any]:
    """Images in [0, 1] as the contract's element type; UINT8 ones are rounded to 0..255."""
    if dtype == pb.DATA_TYPE_UINT8:
        return as_bytes(images)
    if dtype == pb.DATA_TYPE_FLOAT16:
        return images.astype(np.float16)
    return images


def as_bytes(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images in [0, 1], rounded to 0..255."""
    return (images * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def as_floats(images: NDArray[Any]) -> NDArray[np.float32]:
    """Bytes 0..255 to float32 in [0, 1]; float32 images are returned as they are."""
    if images.dtype != _BYTE:
        return images
    pixels: NDArray[np.float32] = np.divide(images, np.float32(255), dtype=np.float32)
    return pixels
