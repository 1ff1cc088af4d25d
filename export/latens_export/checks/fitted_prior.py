"""A Gaussian of the encoded means: the prior of a model that was not trained towards N(0, I)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latens_export.checks.inputs import Floats, values_of
from latens_export.errors import UsageError
from latens_export.graphs.sessions import session
from latens_serving.bundle.prior import FittedPrior

if TYPE_CHECKING:
    from torch import Tensor

    from latens_export.graphs.splitting import Graphs
    from latens_serving.bundle.spec import ModelSpec

MOST_ROWS = 20_000
LARGEST_FACTOR = 512
"""Latents of more coordinates are taken as independent: their covariance is a square of that."""

_ELEMENTS_A_RUN = 1 << 20
_LEAST_VARIANCE = 1e-6
"""Of a coordinate, relative to the mean variance: it keeps the covariance positive definite."""


def fit_prior(graphs: Graphs, spec: ModelSpec, data: Tensor) -> FittedPrior:
    """Fits a Gaussian to the means of data, by the graphs that will be served.

    Latents of fixed shape with up to `LARGEST_FACTOR` coordinates get a full covariance, others a
    variance per coordinate; along a free axis all places share their mean and variance.

    Args:
        graphs: the encoder among them.
        spec: of the model.
        data: real training data, uint8 images or float32 values.

    Raises:
        UsageError: there are fewer than two rows.
    """
    if len(data) < 2:
        raise UsageError(f"fit-prior: expected at least 2 rows of data, got {len(data)}")
    if spec.has_codes:
        raise UsageError("fit-prior: the model encodes to codes, to which no Gaussian is fitted")
    means = _encoded(graphs, spec, data[:MOST_ROWS]).astype(np.float64)
    size = means[0].size
    if not spec.is_free and size <= LARGEST_FACTOR and len(means) > size:
        centre = means.mean(0)
        rows = (means - centre).reshape(len(means), -1)
        covariance = rows.T @ rows / (len(rows) - 1)
        covariance += np.eye(size) * (_LEAST_VARIANCE * np.trace(covariance) / size + 1e-12)
        factor = np.linalg.cholesky(covariance)
        return FittedPrior(_float32(centre), factor=_float32(factor))
    axes = (0, *(place for place, axis in enumerate(spec.latent_axes, 1) if axis.size is None))
    centre, std = means.mean(axes, keepdims=True)[0], means.std(axes, keepdims=True)[0]
    return FittedPrior(_float32(centre), std=_float32(std))


def _encoded(graphs: Graphs, spec: ModelSpec, data: Tensor) -> Floats:
    encode = session(graphs.encoder)
    rows = max(1, _ELEMENTS_A_RUN // data[0].numel())
    parts = [
        encode.run(["mean"], {spec.data_field: values_of(data[first : first + rows])})[0]
        for first in range(0, len(data), rows)
    ]
    return np.concatenate(parts)


def _float32(values: np.ndarray) -> Floats:
    return values.astype(np.float32)
