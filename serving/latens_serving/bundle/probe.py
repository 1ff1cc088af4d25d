"""The probe: inputs with the outputs of the training framework, by which a bundle proves itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from latens_serving.bundle.axes import Shape
from latens_serving.bundle.files import LARGEST_NPZ
from latens_serving.bundle.npz import Header, NpzArchive
from latens_serving.bundle.schema import BundleError
from latens_serving.bundle.spec import ModelSpec, Posterior, SpecError

PROBE_FILE = "probe.npz"


class Probe(BaseModel):
    """Inputs with the outputs that the training framework gave, axis 0 the item.

    All are float32; but for a model with a codebook `mean` and `latents` are codes, int64. Of a
    conditional model `images` and `latents` are joined with their labels.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, frozen=True)

    images: NDArray[np.float32]
    mean: NDArray[Any]
    log_var: NDArray[np.float32] | None
    latents: NDArray[Any]
    decoded: NDArray[np.float32]


def probe_bytes(probe: Probe) -> bytes:
    """The content of `probe.npz`: the same bytes for the same arrays."""
    arrays = {name: getattr(probe, name) for name in Probe.model_fields}
    content = io.BytesIO()
    np.savez(content, **{name: array for name, array in arrays.items() if array is not None})
    return content.getvalue()


def read_probe(content: bytes, spec: ModelSpec) -> Probe:
    """Reads the content of `probe.npz`, and checks its arrays against the spec.

    Raises:
        BundleError: the archive is damaged, or an array is missing, unknown, of another shape or
            type than the spec says, or not finite.
    """
    archive = NpzArchive(PROBE_FILE, content, LARGEST_NPZ)
    _check_headers(archive.headers, spec)
    arrays = {name: archive.read(name) for name in archive.headers}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BundleError(f"{PROBE_FILE}: {name}: has values that are not finite")
    if spec.codebook_size is not None:
        for name in ("mean", "latents"):
            if arrays[name].min() < 0 or arrays[name].max() >= spec.codebook_size:
                raise BundleError(f"{PROBE_FILE}: {name}: has codes that the codebook lacks")
    return Probe(**{"log_var": None, **arrays})


def _check_headers(headers: dict[str, Header], spec: ModelSpec) -> None:
    names = {"images", "mean", "latents", "decoded"}
    if spec.posterior is Posterior.DIAGONAL_GAUSSIAN:
        names.add("log_var")
    if headers.keys() != names:
        raise BundleError(f"{PROBE_FILE}: holds {sorted(headers)}, expected {sorted(names)}")
    if scalars := [name for name, header in headers.items() if not header.shape]:
        raise BundleError(f"{PROBE_FILE}: {scalars[0]}: expected an axis of rows")
    for name, shape in _expected_shapes(headers, spec).items():
        header = headers[name]
        is_latent = name in ("mean", "latents")
        dtype = spec.latent_dtype if is_latent else np.dtype(np.float32)
        if header.dtype != dtype or header.shape != shape or not shape[0]:
            raise BundleError(
                f"{PROBE_FILE}: {name}: {header.dtype}{list(header.shape)}, "
                f"expected {dtype}{list(shape)}, and at least one row"
            )


def _expected_shapes(headers: dict[str, Header], spec: ModelSpec) -> dict[str, Shape]:
    """The shape of each array, given the rows of the inputs and the sizes of their free axes."""
    (image_rows, *image), (latent_rows, *latent) = headers["images"].shape, headers["latents"].shape
    for name, row in (("images", image), ("latents", latent)):
        if not row:
            raise BundleError(f"{PROBE_FILE}: {name}: expected rows of one axis or more")
    encoded = _counterpart("images", spec.latent_shape_of, spec.row_shape(image))
    decoded = _counterpart("latents", spec.data_shape_of, spec.row_shape(latent))
    shapes = {
        "images": (image_rows, *image),
        "mean": (image_rows, *encoded),
        "log_var": (image_rows, *encoded),
        "latents": (latent_rows, *latent),
        "decoded": (latent_rows, *decoded),
    }
    return {name: shape for name, shape in shapes.items() if name in headers}


def _counterpart(
    name: str, shape_of: Callable[[Sequence[int]], Shape], shape: Sequence[int]
) -> Shape:
    try:
        return shape_of(shape)
    except SpecError as error:
        raise BundleError(f"{PROBE_FILE}: {name}: {error}") from error
