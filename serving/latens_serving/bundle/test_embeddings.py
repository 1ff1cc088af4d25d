"""The atlas: part of the test set with its posterior means, for whoever wants to see the latents.

An optional file of a bundle, `atlas.npz`. Nothing that answers a call depends on it.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.schema import BundleError, LatentContract

ATLAS_FILE = "atlas.npz"
LARGEST_ATLAS = 64 << 20
"""Bytes of the images, unpacked: an atlas is to be looked at, not a data set."""


@dataclass(frozen=True, slots=True)
class Atlas:
    """n test images in the order of the test set.

    Attributes:
        images: uint8 `[n, channels, height, width]`.
        means: the means of their posteriors, float32 `[n, *latent_shape]`.
        labels: int64 `[n]`; None where the data set has none.
    """

    images: NDArray[np.uint8]
    means: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def atlas_bytes(atlas: Atlas) -> bytes:
    """The content of `atlas.npz`."""
    buffer = io.BytesIO()
    labels = {} if atlas.labels is None else {"labels": atlas.labels}
    np.savez_compressed(buffer, images=atlas.images, means=atlas.means, **labels)  # type: ignore[arg-type]  # one stub for names and for allow_pickle
    return buffer.getvalue()


def read_atlas(content: bytes, contract: LatentContract) -> Atlas:
    """Reads `atlas.npz` and checks it against the model's contract.

    Raises:
        BundleError: it is not an atlas, or not one of this model.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            unpacked = sum(member.file_size for member in packed.infolist())
        if unpacked > LARGEST_ATLAS:
            raise BundleError(f"atlas: {unpacked} bytes unpacked, at most {LARGEST_ATLAS}")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            labels = arrays.get("labels")
            atlas = Atlas(arrays["images"], arrays["means"], labels)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"atlas: {error}") from error
    _check(atlas, contract)
    return atlas


def _check(atlas: Atlas, contract: LatentContract) -> None:
    rows = len(atlas.means)
    expected: dict[str, tuple[NDArray[Any] | None, type[np.generic], tuple[int, ...]]] = {
        "images": (atlas.images, np.uint8, (rows, *contract.image_shape)),
        "means": (atlas.means, np.float32, (rows, *contract.latent_shape)),
        "labels": (atlas.labels, np.int64, (rows,)),
    }
    for name, (array, dtype, shape) in expected.items():
        if array is not None and (array.dtype != dtype or array.shape != shape):
            got = f"{array.dtype} {array.shape}"
            raise BundleError(f"atlas: {name}: expected {np.dtype(dtype)} {shape}, got {got}")
    if not np.isfinite(atlas.means).all():
        raise BundleError("atlas: means: not finite")
