"""Drawing latents: pure numpy, no model. `latens.paths` walks between them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from latens_serving.service.noise import NOISE_GENERATOR, Stream, standard_normal

__all__ = ["NOISE_GENERATOR", "draw_posterior", "draw_prior"]

Latents = NDArray[np.float32]


def draw_prior(
    latent_shape: tuple[int, ...], *, seed: int, first_row: int, rows: int, temperature: float
) -> Latents:
    """Draws z ~ N(0, temperature^2 I), float32 `[rows, *latent_shape]`."""
    noise = standard_normal(seed, Stream.PRIOR, first_row, rows, math.prod(latent_shape))
    return (np.float32(temperature) * noise).reshape(rows, *latent_shape)


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
