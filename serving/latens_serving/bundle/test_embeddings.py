"""Test embeddings: part of the test set with its posterior means, for pictures of the latent space.

They are an optional file of a bundle, `atlas.npz`. No call depends on them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.npz import NpzArchive
from latens_serving.bundle.schema import BundleError
from latens_serving.bundle.spec import ModelSpec, SpecError

EMBEDDINGS_FILE = "atlas.npz"
LARGEST_EMBEDDINGS = 64 << 20
"""Bytes of all arrays, unpacked: they are made to be looked at, and are no data set."""

_WHAT = "test embeddings"
_NAMES = ("images", "means", "labels", "axes", "spreads", "umap")


@dataclass(frozen=True, slots=True)
class Embeddings:
    """n test images in the order of the test set.

    Attributes:
        images: uint8 `[n, channels, height, width]`.
        means: the means of their posteriors, float32 `[n, *latent_shape]`.
        labels: int64 `[n]`; None where the data set has none.
        axes: the principal axes of the means, unit vectors, float32 `[k, *latent_shape]`, those
            of most variance first; None in bundles of older exporters and of two coordinates.
        spreads: the standard deviations of the means along them, float32 `[k]`.
        umap: UMAP coordinates of the means, float32 `[n, 2]`; None unless asked for at export.
    """

    images: NDArray[np.uint8]
    means: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    axes: NDArray[np.float32] | None = None
    spreads: NDArray[np.float32] | None = None
    umap: NDArray[np.float32] | None = None


def embeddings_bytes(embeddings: Embeddings) -> bytes:
    """The content of `atlas.npz`."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {name: getattr(embeddings, name) for name in _NAMES}
    present = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(buffer, **present)
    return buffer.getvalue()


def read_embeddings(content: bytes, spec: ModelSpec) -> Embeddings:
    """Reads `atlas.npz` and checks it against the model's spec.

    Raises:
        BundleError: the archive is damaged or too large, or an array is missing, unknown, of
            another shape or type than the spec says, or not finite.
    """
    archive = NpzArchive(_WHAT, content, LARGEST_EMBEDDINGS)
    _check_headers(archive, spec)
    arrays: dict[str, Any] = {name: archive.read(name) for name in archive.headers}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BundleError(f"{_WHAT}: {name}: has values that are not finite")
    return Embeddings(**{"labels": None, **arrays})


def _check_headers(archive: NpzArchive, spec: ModelSpec) -> None:
    headers = archive.headers
    if headers.keys() | set(_NAMES) != set(_NAMES) or not {"images", "means"} <= headers.keys():
        raise BundleError(f"{_WHAT}: holds {sorted(headers)}, expected {', '.join(_NAMES)}")
    if ("axes" in headers) != ("spreads" in headers):
        raise BundleError(f"{_WHAT}: axes and spreads go together")
    rows = headers["means"].shape[:1]
    axes = headers["axes"].shape[:1] if "axes" in headers else ()
    image = headers["images"].shape[1:]
    try:
        latent = spec.latent_shape_of(image)
    except SpecError as error:
        raise BundleError(f"{_WHAT}: images: {error}") from error
    expected: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        "images": (np.uint8, (*rows, *image)),
        "means": (np.float32, (*rows, *latent)),
        "labels": (np.int64, rows),
        "axes": (np.float32, (*axes, *latent)),
        "spreads": (np.float32, axes),
        "umap": (np.float32, (*rows, 2)),
    }
    for name, header in headers.items():
        dtype, shape = expected[name]
        if not rows or header.dtype != dtype or header.shape != shape:
            raise BundleError(
                f"{_WHAT}: {name}: {header.dtype}{list(header.shape)}, "
                f"expected {np.dtype(dtype)}{list(shape)}"
            )
