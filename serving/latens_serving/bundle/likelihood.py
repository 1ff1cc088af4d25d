"""The terms of the evidence lower bound of images, in nats, in pure numpy.

Kingma and Welling, "Auto-Encoding Variational Bayes" (2013); Burda, Grosse and Salakhutdinov,
"Importance Weighted Autoencoders" (2016).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.schema import LatentContract, Likelihood

Floats = NDArray[np.float32]

_LOG_TWO_PI = math.log(2 * math.pi)
_PIXEL_AXES = (-3, -2, -1)
# The decoder's sigmoid is exact to a float32, so 1 - p is known to half of its last place.
_LEAST_REST = np.float32(2.0**-25)
_LEAST_PROBABILITY = np.finfo(np.float32).tiny


def reconstruction_error(images: Floats, decoded: Floats, contract: LatentContract) -> Floats:
    """-log p(x|z), nats per image.

    A Bernoulli term is the cross-entropy. It is at most 17.3 nats per pixel, since probabilities
    near 1 round to 1. A Gaussian term keeps its normalising constant.

    Args:
        images: `[..., c, h, w]` in [0, 1].
        decoded: the mean of p(x|z), of a shape that broadcasts with it.
        contract: the likelihood and its sigma.

    Returns:
        float32 `[...]`.
    """
    if contract.likelihood is Likelihood.GAUSSIAN:
        squares = np.square(decoded - images).sum(_PIXEL_AXES)
        constant = math.prod(contract.image_shape) * (0.5 * _LOG_TWO_PI + math.log(contract.sigma))
        return np.asarray(squares / (2 * contract.sigma**2) + constant, np.float32)
    log_p = np.log(np.maximum(decoded, _LEAST_PROBABILITY))
    log_rest = np.log(np.maximum(1 - decoded, _LEAST_REST))
    return np.asarray(-(images * log_p + (1 - images) * log_rest).sum(_PIXEL_AXES), np.float32)


def kl_to_prior(mean: Floats, log_var: Floats) -> Floats:
    """KL(q(z|x) || N(0, I)) of posteriors `[n, *latent_shape]`: `[n]`, nats."""
    terms = 0.5 * (np.square(mean) + np.exp(log_var) - 1 - log_var)
    return np.asarray(terms.reshape(len(terms), -1).sum(1), np.float32)


def log_prior_to_posterior(latents: Floats, noise: Floats, log_var: Floats) -> Floats:
    """The logarithm of p(z) / q(z|x) at z = mean + exp(log_var / 2) noise.

    Args:
        latents: `[n, k, size]`.
        noise: `[n, k, size]`, from which they were made.
        log_var: `[n, 1, size]`.

    Returns:
        `[n, k]`, nats.
    """
    terms = 0.5 * (np.square(noise) + log_var - np.square(latents))
    return np.asarray(terms.sum(2), np.float32)


def importance_bound(
    log_weights: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The logarithm of the mean weight, and its standard error by the delta method.

    Args:
        log_weights: log p(x, z) / q(z|x), `[n, k]`, nats.

    Returns:
        Two arrays `[n]`, nats; the error is NaN for k = 1.
    """
    samples = log_weights.shape[1]
    highest = log_weights.max(1, keepdims=True)
    weights = np.exp(log_weights - highest)
    mean = weights.mean(1)
    bound = highest[:, 0] + np.log(mean)
    if samples == 1:
        return bound, np.full_like(bound, np.nan)
    return bound, weights.std(1, ddof=1) / (mean * math.sqrt(samples))
