"""The importance-weighted bound of log p(x) over a set, in nats per image.

Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders" (2016), equation 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latens_training.metrics.evaluation import known_labels
from latens_training.models.autoencoder import Autoencoder, reparameterize
from latens_training.objectives.batch import log_prior_to_posterior

if TYPE_CHECKING:
    from latens_training.data.types import Images
    from latens_training.metrics.evaluation import Terms

_SEED = 20_151_020
_DECODED_AT_ONCE = 5_000
_MOST_VALUES = 1 << 24
"""Decoded values in memory at once: 64 MiB."""


@dataclass(frozen=True)
class Bound:
    """An importance-weighted lower bound of log p(x), a mean over a set."""

    value: float
    """Nats per image; at most log p(x) in expectation."""
    standard_error: float
    """Of the value, from the choice of images that many draws were made for and from the draws."""
    samples: int
    images: int

    def metrics(self) -> dict[str, float]:
        """By name; without the error where it cannot be told (one draw for one image)."""
        figures = {"iwae_bound": self.value, "iwae_bound_samples": float(self.samples)}
        if math.isfinite(self.standard_error):
            figures["iwae_bound_error"] = self.standard_error
        return figures


@torch.inference_mode()
def iwae_bound(
    model: Autoencoder,
    images: Images,
    terms: Terms,
    labels: Tensor | None = None,
    *,
    samples: int,
    subset: int,
) -> Bound:
    """The importance-weighted bound of log p(x) with `samples` draws per image.

    Many draws are made for `subset` images only, spread evenly over the set: what they gain over
    the ELBO varies far less from image to image than the bound itself, so the whole set's ELBO plus
    the subset's mean gain (a control variate) has the precision of many more images.

    Args:
        model: with a Gaussian posterior.
        images: uint8 [n, c, h, w], on the model's device.
        terms: of `evaluate` for the same model and images.
        labels: int64 [n]; read for a conditional model alone, whose bound is of log p(x|y).
        samples: draws per image, k.
        subset: for how many images.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(_SEED)
    count = min(subset, len(images))
    chosen = [row * len(images) // count for row in range(count)]
    elbos = -(terms.reconstruction + terms.kl)
    gains, draw_variances = [], []
    classes = known_labels(model, labels)
    for row in chosen:
        image = images[torch.tensor([row], device=device)]
        label = None if classes is None else classes[row : row + 1]
        bound, error = log_mean_weight(_log_weights(model, image, label, samples, generator))
        gains.append(bound - float(elbos[row]))
        draw_variances.append(error**2)
    gain = torch.tensor(gains, dtype=torch.float64)
    error = _standard_error(gain, sum(draw_variances) / count, len(images))
    return Bound(float(elbos.mean() + gain.mean()), error, samples, count)


def _standard_error(gain: Tensor, draw_variance: float, images: int) -> float:
    """The error of the mean gain; that of the draws alone where the subset is the whole set.

    The variance of the gains over the images contains that of the draws, so each counts by the
    share of images that it stands for. A single draw per image does not tell its own variance; then
    that over the images stands for both.
    """
    seen = len(gain) / images
    between = float(gain.var()) if len(gain) > 1 else math.nan
    if math.isnan(draw_variance):
        return math.sqrt(between / len(gain))
    if len(gain) == images:
        return math.sqrt(draw_variance / len(gain))
    return math.sqrt(((1 - seen) * between + seen * draw_variance) / len(gain))


def log_mean_weight(log_weights: Tensor) -> tuple[float, float]:
    """The logarithm of the mean weight of one image and its standard error by the jackknife.

    Args:
        log_weights: float64 [k], nats.

    Returns:
        The value and the error, nats; the error of one weight is NaN.
    """
    count = len(log_weights)
    value = float(torch.logsumexp(log_weights, 0)) - math.log(count)
    if count == 1:
        return value, math.nan
    weights = (log_weights - log_weights.max()).exp().sort().values
    rest = weights.sum() - weights
    # The sum without the largest weight would lose all its digits in the difference.
    rest[-1] = weights[:-1].sum()
    left_out = rest.clamp_min(torch.finfo(rest.dtype).tiny).log()
    return value, math.sqrt((count - 1) * float(left_out.var(correction=0)))


def _log_weights(
    model: Autoencoder,
    image: Tensor,
    label: Tensor | None,
    samples: int,
    generator: torch.Generator,
) -> Tensor:
    """The logarithms of p(x, z) / q(z|x) [samples], float64 nats, of an image [1, c, h, w]."""
    target = image.float().div_(255)
    mean, log_var = model.encode(target, label)
    assert log_var is not None
    weights = []
    values = model.likelihood.channels(image.shape[1]) * math.prod(image.shape[2:])
    at_once = max(1, min(_DECODED_AT_ONCE, _MOST_VALUES // values))
    for start in range(0, samples, at_once):
        count = min(at_once, samples - start)
        noise = torch.randn((count, *mean.shape), generator=generator, device=mean.device)
        latents = reparameterize(mean, log_var, noise)
        decoded = model.decode_draws(latents, label)
        ratio = log_prior_to_posterior(latents, mean, log_var)
        weights.append(
            (ratio - model.likelihood.negative_log_p(decoded, target)).double().flatten()
        )
    return torch.cat(weights)
