"""Noise that depends on (seed, stream, row) and on nothing else, and the latents drawn with it.

The generator is counter-based (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"):
Philox 4x64 with 10 rounds maps (key, counter) to four 64-bit words. The key's low word is the seed,
and its high word the stream and, above it, the step of a chain. A row of `size` values owns
`blocks = ceil(size / 4)` consecutive counters, those of row r being r * blocks + 1 to
(r + 1) * blocks. So any run of rows is one contiguous piece of the sequence, made in one call, and
where it starts costs nothing.

Each word gives a uniform number of 53 bits; each pair of them gives two normal ones (Box and Muller
1958), which, unlike rejection methods, always takes the same number of words. The largest value
possible is sqrt(2 * 53 * ln 2) = 8.57.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.prior import FittedPrior

Latents = NDArray[np.float32]

NOISE_GENERATOR = "philox4x64-10/box-muller/1"

_WORDS = 4  # of 64 bits, that one counter gives


class Stream(IntEnum):
    """What the noise is for: the same seed gives each use numbers of its own."""

    PRIOR = 0
    POSTERIOR = 1
    SCORE = 2


def standard_normal(
    seed: int, stream: Stream, first_row: int, rows: int, size: int, step: int = 0
) -> NDArray[np.float32]:
    """Draws `rows` rows of N(0, I), the first of them being row number `first_row`.

    Args:
        seed: 0 to 2^64 - 1.
        stream: which of the seed's sequences.
        first_row: 0 to 2^64 - 1.
        rows: how many.
        size: values a row.
        step: of a chain, 0 to 2^32 - 1; each has numbers of its own.

    Returns:
        float32 `[rows, size]`.
    """
    blocks = -(-size // _WORDS)
    generator = np.random.Philox(
        key=seed | (int(stream) << 64) | (step << 96), counter=first_row * blocks
    )
    words = generator.random_raw(rows * blocks * _WORDS).reshape(-1, 2)
    uniform = (words >> np.uint64(11)) * 2.0**-53  # in [0, 1)
    radius = np.sqrt(-2.0 * np.log1p(-uniform[:, 0]))
    angle = (2.0 * np.pi) * uniform[:, 1]
    normal = np.empty(uniform.shape, np.float32)
    np.multiply(radius, np.cos(angle), out=normal[:, 0], casting="same_kind")
    np.multiply(radius, np.sin(angle), out=normal[:, 1], casting="same_kind")
    return normal.reshape(rows, blocks * _WORDS)[:, :size]


def draw_prior(
    latent_shape: tuple[int, ...],
    *,
    seed: int,
    first_row: int,
    rows: int,
    temperature: float,
    fitted: FittedPrior | None = None,
) -> Latents:
    """Draws z ~ N(0, temperature^2 I), float32 `[rows, *latent_shape]`; of `fitted` if given."""
    noise = standard_normal(seed, Stream.PRIOR, first_row, rows, math.prod(latent_shape))
    shaped = noise.reshape(rows, *latent_shape)
    return np.float32(temperature) * shaped if fitted is None else fitted.at(shaped, temperature)


def draw_posterior(
    mean: Latents, log_var: Latents | None, *, seed: int, first_row: int, step: int = 0
) -> Latents:
    """Draws z = mean + exp(log_var / 2) * noise (Kingma and Welling 2014, section 2.4).

    Args:
        mean: `[n, *latent_shape]`.
        log_var: natural logarithm of the variance, like `mean`; None for a posterior that is a
            point, whose only draw is the mean.
        seed: of the noise.
        first_row: the row number of the first item.
        step: of a chain, which draws more than once.
    """
    if log_var is None:
        return mean
    rows, *latent_shape = mean.shape
    noise = standard_normal(seed, Stream.POSTERIOR, first_row, rows, math.prod(latent_shape), step)
    drawn: Latents = mean + np.exp(np.float32(0.5) * log_var) * noise.reshape(mean.shape)
    return drawn
