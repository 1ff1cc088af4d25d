"""A fitted prior: a Gaussian of the encoded means, where N(0, I) was not trained towards.

It is the file `prior.npz` of a bundle, with float32 arrays `mean` and either `std`, where the
coordinates are independent, or `factor`, the lower Cholesky factor of their covariance.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.axes import Shape
from latens_serving.bundle.npz import NpzArchive
from latens_serving.bundle.schema import BundleError
from latens_serving.bundle.spec import ModelSpec

PRIOR_FILE = "prior.npz"
LARGEST_PRIOR = 256 << 20

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FittedPrior:
    """N(mean, std^2), or N(mean, factor factor^T) over the coordinates in C order.

    Attributes:
        mean: `[*latent_shape]`, 1 along the free axes: all places share the values.
        std: like `mean`; None if there is a factor.
        factor: `[size, size]`, for latents of fixed shape; None if there is a std.
    """

    mean: Floats
    std: Floats | None = None
    factor: Floats | None = None

    def at(self, noise: Floats, temperature: float) -> Floats:
        """Turns noise of N(0, I), `[n, *latent_shape]`, into draws."""
        noise = np.float32(temperature) * noise
        if self.std is not None:
            noise = noise * self.std
        if self.factor is not None:
            noise = (noise.reshape(len(noise), -1) @ self.factor.T).reshape(noise.shape)
        return np.asarray(self.mean + noise, np.float32)


def prior_bytes(prior: FittedPrior) -> bytes:
    """The content of `prior.npz`: the same bytes for the same arrays."""
    content = io.BytesIO()
    arrays = {"mean": prior.mean, "std": prior.std, "factor": prior.factor}
    given = {name: array for name, array in arrays.items() if array is not None}
    np.savez(content, **given)  # type: ignore[arg-type]  # one stub for names and for allow_pickle
    return content.getvalue()


def read_prior(content: bytes, spec: ModelSpec) -> FittedPrior:
    """Reads `prior.npz`, and checks its arrays against the spec.

    Raises:
        BundleError: the archive is damaged, or an array is missing, unknown, of another shape or
            type than the spec says, or not finite.
    """
    archive = NpzArchive(PRIOR_FILE, content, LARGEST_PRIOR)
    expected = _expected_shapes(archive, spec)
    for name, header in archive.headers.items():
        if header.dtype != np.float32 or header.shape != expected[name]:
            raise BundleError(
                f"{PRIOR_FILE}: {name}: {header.dtype}{list(header.shape)}, "
                f"expected float32{list(expected[name])}"
            )
    arrays = {name: archive.read(name) for name in archive.headers}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise BundleError(f"{PRIOR_FILE}: {name}: has values that are not finite")
    return FittedPrior(**arrays)


def _expected_shapes(archive: NpzArchive, spec: ModelSpec) -> dict[str, Shape]:
    is_fixed = all(size is not None for size in spec.latent_shape)
    spreads = ("std", "factor") if is_fixed else ("std",)
    if archive.headers.keys() not in [{"mean", spread} for spread in spreads]:
        raise BundleError(
            f"{PRIOR_FILE}: holds {sorted(archive.headers)}, "
            f"expected mean and {' or '.join(spreads)}"
        )
    row = tuple(size or 1 for size in spec.latent_shape)
    return {"mean": row, "std": row, "factor": (math.prod(row), math.prod(row))}
