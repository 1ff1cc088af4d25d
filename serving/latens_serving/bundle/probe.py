"""The probe: inputs with the outputs of the training framework, by which a bundle proves itself."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from latens_serving.bundle.files import LARGEST_NPZ
from latens_serving.bundle.npz import Header, NpzArchive
from latens_serving.bundle.schema import BundleError, LatentContract, Posterior

PROBE_FILE = "probe.npz"


class Probe(BaseModel):
    """Inputs with the outputs that the training framework gave, float32, axis 0 the item."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, frozen=True)

    images: NDArray[np.float32]
    mean: NDArray[np.float32]
    log_var: NDArray[np.float32] | None
    latents: NDArray[np.float32]
    decoded: NDArray[np.float32]


def probe_bytes(probe: Probe) -> bytes:
    """The content of `probe.npz`: the same bytes for the same arrays."""
    arrays = {name: getattr(probe, name) for name in Probe.model_fields}
    content = io.BytesIO()
    np.savez(content, **{name: array for name, array in arrays.items() if array is not None})
    return content.getvalue()


def read_probe(content: bytes, contract: LatentContract) -> Probe:
    """Reads the content of `probe.npz`, and checks its arrays against the contract.

    Raises:
        BundleError: the archive is damaged, or an array is missing, unknown, of another shape or
            type than the contract says, or not finite.
    """
    archive = NpzArchive(PROBE_FILE, content, LARGEST_NPZ)
    _check_headers(archive.headers, contract)
    arrays = {name: archive.read(name) for name in archive.headers}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BundleError(f"{PROBE_FILE}: {name}: has values that are not finite")
    return Probe(**{"log_var": None, **arrays})


def _check_headers(headers: dict[str, Header], contract: LatentContract) -> None:
    expected = _probe_row_shapes(contract)
    if headers.keys() != expected.keys():
        raise BundleError(f"{PROBE_FILE}: holds {sorted(headers)}, expected {sorted(expected)}")
    if scalars := [name for name, header in headers.items() if not header.shape]:
        raise BundleError(f"{PROBE_FILE}: {scalars[0]}: expected an axis of rows")
    for name, (rows_of, row_shape) in expected.items():
        header = headers[name]
        shape = (headers[rows_of].shape[0], *row_shape)
        if header.dtype != np.float32 or header.shape != shape or not shape[0]:
            raise BundleError(
                f"{PROBE_FILE}: {name}: {header.dtype}{list(header.shape)}, "
                f"expected float32{list(shape)}, and at least one row"
            )


def _probe_row_shapes(contract: LatentContract) -> dict[str, tuple[str, tuple[int, ...]]]:
    """For each array of a probe: the array whose rows it shares, and the shape of one row."""
    latent, image = contract.latent_shape, contract.image_shape
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "images": ("images", image),
        "mean": ("images", latent),
        "latents": ("latents", latent),
        "decoded": ("latents", image),
    }
    if contract.posterior is Posterior.DIAGONAL_GAUSSIAN:
        shapes["log_var"] = ("images", latent)
    return shapes
