"""The terms of the ELBO and the importance-weighted bound of log p(x), in numpy and nats.

Kingma and Welling, "Auto-Encoding Variational Bayes" (2013); Burda, Grosse and Salakhutdinov,
"Importance Weighted Autoencoders" (2016).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.spec import Likelihood, ModelSpec

Floats = NDArray[np.float32]

_LOG_TWO_PI = math.log(2 * math.pi)
# The decoder's sigmoid is exact to a float32, so 1 - p is known to half of its last place.
_LEAST_REST = np.float32(2.0**-25)
_LEAST_PROBABILITY = np.finfo(np.float32).tiny
# Measured: docs/scores.md.
_WIDENING = 3.0


def reconstruction_error(images: Floats, decoded: Floats, spec: ModelSpec) -> Floats:
    """-log p(x|z), nats per row; the mean squared error for a model without likelihood.

    A Bernoulli term is the cross-entropy. It is at most 17.3 nats per pixel, since probabilities
    near 1 round to 1. A Gaussian term keeps its normalising constant.

    Args:
        images: `[..., *data_shape]`, in [0, 1] for a Bernoulli likelihood.
        decoded: the mean of p(x|z), of a shape that broadcasts with it.
        spec: the likelihood and its sigma.

    Returns:
        float32 `[...]`.
    """
    axes = tuple(range(-len(spec.data_axes), 0))
    if spec.likelihood is Likelihood.NONE:
        return np.asarray(np.square(decoded - images).mean(axes), np.float32)
    if spec.likelihood is Likelihood.GAUSSIAN:
        squares = np.square(decoded - images).sum(axes)
        constant = math.prod(images.shape[axes[0] :]) * (0.5 * _LOG_TWO_PI + math.log(spec.sigma))
        return np.asarray(squares / (2 * spec.sigma**2) + constant, np.float32)
    log_p = np.log(np.maximum(decoded, _LEAST_PROBABILITY))
    log_rest = np.log(np.maximum(1 - decoded, _LEAST_REST))
    return np.asarray(-(images * log_p + (1 - images) * log_rest).sum(axes), np.float32)


def kl_to_prior(mean: Floats, log_var: Floats) -> Floats:
    """KL(q(z|x) || N(0, I)) of posteriors `[n, *latent_shape]`: `[n]`, nats."""
    terms = 0.5 * (np.square(mean) + np.exp(log_var) - 1 - log_var)
    return np.asarray(terms.reshape(len(terms), -1).sum(1), np.float32)


def proposal_scale(log_var: Floats) -> Floats:
    """The standard deviations of the distribution that Score draws latents from.

    A posterior that was trained by the ELBO is narrower than p(z|x), so that weights by it have a
    heavy tail: few samples carry the mean, and neither the mean nor its error can be trusted. The
    remedy is a proposal that is wider (Owen 2013, "Monte Carlo theory, methods and examples",
    section 9.3), but nowhere wider than the prior because of this. The factor shrinks with the
    number of latent dimensions, so that a posterior that was exact loses a fixed share of its
    samples and no more.

    Args:
        log_var: of q(z|x), `[..., size]`.

    Returns:
        float32 `[..., size]`.
    """
    scale = np.exp(np.float32(0.5) * log_var)
    widening = np.float32(math.sqrt(1 + _WIDENING / math.sqrt(log_var.shape[-1])))
    return np.asarray(np.maximum(scale, np.minimum(widening * scale, 1)), np.float32)


def log_prior_to_proposal(latents: Floats, noise: Floats, scale: Floats) -> Floats:
    """The logarithm of p(z) / r(z) at z = mean + scale * noise, r the density of z.

    Args:
        latents: `[n, k, size]`.
        noise: standard normal, `[n, k, size]`.
        scale: `[n, 1, size]`.

    Returns:
        `[n, k]`, nats.
    """
    terms = 0.5 * (np.square(noise) - np.square(latents)) + np.log(scale)
    return np.asarray(terms.sum(2), np.float32)


class ImportanceBound(NamedTuple):
    """The logarithm of the mean weight of each image, and how far it can be trusted; `[n]` each."""

    bound: NDArray[np.float64]
    """Nats."""
    standard_error: NDArray[np.float64]
    """By the jackknife, nats; NaN for one sample."""
    effective_samples: NDArray[np.float64]
    """The squared sum of the weights over the sum of their squares, 1 to k (Kong 1992)."""


def importance_bound(log_weights: NDArray[np.float64]) -> ImportanceBound:
    """The logarithm of the mean weight of each image.

    The error is the jackknife's: it looks at how the bound moves when a sample is left out. The
    delta method, which linearises the logarithm, gives at most 1 nat however few samples count.

    Args:
        log_weights: log p(x, z) / r(z), `[n, k]`, nats.
    """
    samples = log_weights.shape[1]
    highest = log_weights.max(1, keepdims=True)
    weights = np.exp(log_weights - highest)
    total = weights.sum(1)
    bound = highest[:, 0] + np.log(total / samples)
    effective = np.square(total) / np.square(weights).sum(1)
    if samples == 1:
        return ImportanceBound(bound, np.full_like(bound, np.nan), effective)
    # The sum without the largest weight would lose all its digits in the difference.
    ranked = np.sort(weights, axis=1)
    rest = total[:, None] - ranked
    rest[:, -1] = ranked[:, :-1].sum(1)
    without = np.log(np.maximum(rest, np.finfo(np.float64).tiny))
    spread = np.square(without - without.mean(1, keepdims=True)).sum(1)
    return ImportanceBound(bound, np.sqrt(spread * (samples - 1) / samples), effective)
