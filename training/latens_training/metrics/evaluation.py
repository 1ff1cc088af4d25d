"""How good a model is, over a whole set, in nats an image; and what its latent units do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latens_training.models.autoencoder import Autoencoder, reparameterize
from latens_training.objectives.terms import kl_by_unit, log_prior_to_posterior, reconstruction
from latens_training.run_record import LatentUnit

if TYPE_CHECKING:
    from latens_training.config import LossConfig
    from latens_training.data.types import Images

ACTIVE_VARIANCE = 0.01
_BLOCK = 1000
_SEED = 20_151_019
_DECODED_AT_ONCE = 5_000


@dataclass(frozen=True)
class Terms:
    """The parts of the ELBO over a set."""

    reconstruction: Tensor
    """-log p(x|z) [n], nats, averaged over the latent draws."""
    kl: Tensor
    """KL(q(z|x) || p(z)) [n], nats; zeros for a deterministic posterior."""
    kl_by_unit: Tensor
    """Means over the images [units]; empty for a deterministic posterior."""
    mean: Tensor
    """Posterior means [n, units]."""

    @property
    def active_units(self) -> int:
        """Units whose mean varies over the data by more than 0.01 (Burda et al. 2015, 5.2)."""
        return int((self.mean.double().var(0, correction=0) > ACTIVE_VARIANCE).sum())

    def metrics(self, posterior: str) -> dict[str, float]:
        """Means over the set by name; a deterministic posterior has no ELBO."""
        figures = {
            "reconstruction": float(self.reconstruction.mean()),
            "active_units": float(self.active_units),
        }
        if posterior == "deterministic":
            return figures
        figures["kl"] = float(self.kl.mean())
        figures["elbo"] = -figures["reconstruction"] - figures["kl"]
        return figures


@dataclass(frozen=True)
class Bound:
    """An importance-weighted lower bound of log p(x), a mean over a set."""

    value: float
    """Nats an image; at most log p(x) in expectation."""
    standard_error: float
    """Of the value, from the choice of images that the many draws were made for."""
    samples: int
    images: int

    def metrics(self) -> dict[str, float]:
        return {
            "log_likelihood_bound": self.value,
            "log_likelihood_bound_error": self.standard_error,
            "log_likelihood_bound_samples": float(self.samples),
        }


@torch.inference_mode()
def evaluate(model: Autoencoder, images: Images, config: LossConfig, draws: int = 5) -> Terms:
    """The ELBO's terms over a whole set, the same for the same model and set.

    Args:
        model: on any device, which the images share.
        images: uint8 [n, c, h, w].
        config: likelihood and sigma.
        draws: latents drawn an image for the reconstruction term.
    """
    device = _device(model)
    generator = torch.Generator(device).manual_seed(_SEED)
    errors, divergences, units, means = [], [], [], []
    for index in _blocks(len(images), device):
        targets = images[index].float().div_(255)
        mean, log_var = model.encode(targets)
        shape = (1 if log_var is None else draws, *mean.shape)
        noise = torch.randn(shape, generator=generator, device=device)
        logits = model.decode(reparameterize(mean, log_var, noise).flatten(0, 1))
        logits = logits.reshape(*noise.shape[:2], *targets.shape[1:])
        drawn = reconstruction(logits, targets, config)
        errors.append(drawn.mean(0))
        means.append(mean.flatten(1))
        if log_var is not None:
            unit = kl_by_unit(mean, log_var).flatten(1)
            divergences.append(unit.sum(1))
            units.append(unit.sum(0, dtype=torch.float64))
    by_unit = torch.stack(units).sum(0) / len(images) if units else torch.empty(0)
    all_errors = torch.cat(errors).cpu()
    return Terms(
        all_errors.double(),
        torch.cat(divergences).cpu().double() if units else torch.zeros_like(all_errors).double(),
        by_unit.cpu(),
        torch.cat(means).cpu(),
    )


@torch.inference_mode()
def latent_units(model: Autoencoder, images: Images) -> tuple[LatentUnit, ...]:
    """What each latent coordinate does over a set (usually the training set).

    Of a deterministic posterior the KL is given as 0.
    """
    means, units = [], []
    for index in _blocks(len(images), _device(model)):
        mean, log_var = model.encode(images[index].float().div_(255))
        means.append(mean.flatten(1))
        if log_var is not None:
            units.append(kl_by_unit(mean, log_var).flatten(1).sum(0, dtype=torch.float64))
    mean = torch.cat(means).double()
    kls = torch.stack(units).sum(0) / len(images) if units else torch.zeros(mean.shape[1])
    spread = mean.std(0, correction=0)
    return tuple(
        LatentUnit(kl=kl, mean=centre, std=std)
        for kl, centre, std in zip(
            kls.tolist(), mean.mean(0).tolist(), spread.tolist(), strict=True
        )
    )


@torch.inference_mode()
def importance_bound(
    model: Autoencoder,
    images: Images,
    config: LossConfig,
    terms: Terms,
    *,
    samples: int,
    subset: int,
) -> Bound:
    """The importance-weighted bound of log p(x) with `samples` draws an image.

    Burda et al. (2015), equation 8. Many draws are made for `subset` images only, spread evenly
    over the set: what they gain over the ELBO varies far less from image to image than the bound
    itself, so the whole set's ELBO plus the subset's mean gain (a control variate) has the
    precision of many more images.

    Args:
        model: with a Gaussian posterior.
        images: uint8 [n, c, h, w], on the model's device.
        config: likelihood and sigma.
        terms: of `evaluate` for the same model and images.
        samples: draws an image, k.
        subset: for how many images.
    """
    device = _device(model)
    generator = torch.Generator(device).manual_seed(_SEED + 1)
    count = min(subset, len(images))
    chosen = [row * len(images) // count for row in range(count)]
    elbos = -(terms.reconstruction + terms.kl)
    gains = []
    for row in chosen:
        index = torch.tensor([row], device=device)
        bound = _log_mean_weight(model, images[index], config, samples, generator)
        gains.append(bound - float(elbos[row]))
    gain = torch.tensor(gains, dtype=torch.float64)
    # What the subset leaves unknown; nothing, if it is the whole set.
    unseen = 1 - len(chosen) / len(images)
    error = math.sqrt(float(gain.var()) / len(gains) * unseen) if len(gains) > 1 else math.nan
    return Bound(float(elbos.mean() + gain.mean()), error, samples, len(gains))


def _log_mean_weight(
    model: Autoencoder,
    image: Tensor,
    config: LossConfig,
    samples: int,
    generator: torch.Generator,
) -> float:
    """Logarithm of 1/k sum_j p(x, z_j) / q(z_j|x) for one image [1, c, h, w] uint8, nats."""
    target = image.float().div_(255)
    mean, log_var = model.encode(target)
    assert log_var is not None
    weights = []
    for start in range(0, samples, _DECODED_AT_ONCE):
        count = min(_DECODED_AT_ONCE, samples - start)
        noise = torch.randn((count, *mean.shape), generator=generator, device=mean.device)
        latents = reparameterize(mean, log_var, noise)
        logits = model.decode(latents.flatten(0, 1)).unsqueeze(1)
        ratio = log_prior_to_posterior(latents, mean, log_var)
        weights.append((ratio - reconstruction(logits, target, config)).double())
    return float(torch.logsumexp(torch.cat(weights), 0).item() - math.log(samples))


def _blocks(count: int, device: torch.device) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(count, device=device), _BLOCK)


def _device(model: Autoencoder) -> torch.device:
    return next(model.parameters()).device
