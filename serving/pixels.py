"""Images in the element type that the caller wants."""

from __future__ import annotations

from typing import Any

import numpy as np
from latens.v1 import latens_pb2 as pb
from numpy.typing import NDArray


def as_pixels(images: NDArray[np.float32], dtype: int) -> NDArray[Any]:
    """Images in [0, 1] as the contract's element type; UINT8 ones are rounded to 0..255."""
    if dtype == pb.DATA_TYPE_UINT8:
        return (images * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    if dtype == pb.DATA_TYPE_FLOAT16:
        return images.astype(np.float16)
    return images
