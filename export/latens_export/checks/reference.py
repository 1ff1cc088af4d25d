"""What the graphs make of the test set, for a server to hold its callers' images against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latens_export.checks.inputs import Floats, values_of
from latens_export.errors import ParityError
from latens_export.graphs.sessions import session
from latens_serving.bundle.conditional import joined, labels_of
from latens_serving.bundle.likelihood import kl_to_prior, reconstruction_error
from latens_serving.bundle.schema import Reference, Spread

if TYPE_CHECKING:
    from torch import Tensor

    from latens_export.graphs.splitting import Graphs
    from latens_serving.bundle.spec import ModelSpec

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MOST_IMAGES = 10_000
_ROWS_A_RUN = 500
_ELEMENTS_A_RUN = 1 << 20
_DECIMALS = 4


def measure_reference(graphs: Graphs, spec: ModelSpec, data: Tensor) -> Reference:
    """KL and reconstruction error of test data, by the graphs that will be served.

    Args:
        graphs: encoder and decoder, float32.
        spec: says which posterior, prior and likelihood. Without a likelihood the error is the
            mean squared error, and there is no KL.
        data: the test set, uint8 `[n, c, h, w]` or float32; of more than `MOST_IMAGES` rows, as
            many spread evenly over it are measured.

    Raises:
        ParityError: a KL is not finite.
    """
    encode, decode = session(graphs.encoder), session(graphs.decoder)
    count = min(len(data), MOST_IMAGES)
    chosen = np.linspace(0, len(data) - 1, count).round().astype(np.int64)
    rows = max(1, min(_ROWS_A_RUN, _ELEMENTS_A_RUN // data[0].numel()))
    kl: list[Floats] = []
    errors: list[Floats] = []
    for first in range(0, count, rows):
        values = values_of(data[chosen[first : first + rows]])
        mean, *log_var = encode.run(None, {spec.data_field: values})
        latents = mean
        if spec.label_count is not None:
            latents = joined(mean, labels_of(values))
            values = values[:, :-1]
        (decoded,) = decode.run(None, {spec.latent_field: latents})
        if spec.gives_kl:
            kl += [kl_to_prior(mean, found) for found in log_var]
        errors.append(reconstruction_error(values, decoded, spec))
    return Reference(
        images=count,
        kl=_spread(np.concatenate(kl)) if kl else None,
        reconstruction=_spread(np.concatenate(errors)),
    )


def _spread(nats: Floats) -> Spread:
    if not np.isfinite(nats).all():
        raise ParityError("the KL of a test image is not finite: its log_var overflows")
    values = np.quantile(nats.astype(np.float64), LEVELS)
    return Spread(
        mean=round(float(nats.mean(dtype=np.float64)), _DECIMALS),
        quantiles={
            level: round(float(value), _DECIMALS)
            for level, value in zip(LEVELS, values, strict=True)
        },
    )
