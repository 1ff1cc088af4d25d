"""What the graphs make of the test set, for a server to hold its callers' images against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latens_export.checks import parity
from latens_export.errors import ParityError
from latens_serving.bundle.likelihood import kl_to_prior, reconstruction_error
from latens_serving.bundle.schema import Reference, Spread

if TYPE_CHECKING:
    from torch import Tensor

    from latens_export.graphs.splitting import Graphs
    from latens_serving.bundle.spec import ModelSpec

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MOST_IMAGES = 10_000
_ROWS_A_RUN = 500
_DECIMALS = 4

Floats = NDArray[np.float32]


def measure_reference(graphs: Graphs, spec: ModelSpec, images: Tensor) -> Reference:
    """KL and reconstruction error of test images, by the graphs that will be served.

    Args:
        graphs: encoder and decoder, float32 images in [0, 1].
        spec: says which posterior and likelihood.
        images: the test set, uint8 [n, c, h, w]; of more than `MOST_IMAGES`, as many spread evenly
            over it are measured.

    Raises:
        ParityError: a KL is not finite.
    """
    encode, decode = parity.session(graphs.encoder), parity.session(graphs.decoder)
    count = min(len(images), MOST_IMAGES)
    chosen = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    kl: list[Floats] = []
    errors: list[Floats] = []
    for first in range(0, count, _ROWS_A_RUN):
        pixels = parity.pixels_of(images[chosen[first : first + _ROWS_A_RUN]])
        mean, *log_var = encode.run(None, {"images": pixels})
        (decoded,) = decode.run(None, {"latents": mean})
        kl += [kl_to_prior(mean, found) for found in log_var]
        errors.append(reconstruction_error(pixels, decoded, spec))
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
