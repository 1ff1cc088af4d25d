"""The ELBO of a model over a whole set, in nats per image; statistics of its coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latens_training.errors import DataError
from latens_training.models.autoencoder import Autoencoder, reparameterize
from latens_training.objectives.batch import kl_by_dim
from latens_training.objectives.vector_quantization import perplexity_of
from latens_training.runs.record import LatentDim

if TYPE_CHECKING:
    from latens_training.data.types import Images

ACTIVE_VARIANCE = 0.01
_MOST_IMAGES = 1000
_MOST_VALUES = 1 << 24
"""Decoded values in memory at once: 64 MiB."""
_SEED = 20_151_019


@dataclass(frozen=True)
class Terms:
    """The parts of the ELBO over a set."""

    reconstruction: Tensor
    """-log p(x|z) [n], nats, averaged over the latent draws."""
    kl: Tensor
    """KL(q(z|x) || p(z)) [n], nats; zeros for a deterministic posterior."""
    kl_by_dim: Tensor
    """Means over the images [dims]; empty for a deterministic posterior."""
    mean: Tensor
    """Posterior means [n, dims]."""
    code_counts: Tensor | None = None
    """How often each code was used, [K]; None without a codebook."""

    @property
    def active_units(self) -> int:
        """Coordinates whose mean varies over the data by more than 0.01 (Burda et al. 2015)."""
        return int((self.mean.double().var(0, correction=0) > ACTIVE_VARIANCE).sum())

    def metrics(self, posterior: str) -> dict[str, float]:
        """Means over the set by name; a deterministic posterior has no ELBO."""
        figures = {
            "reconstruction": float(self.reconstruction.mean()),
            "active_units": float(self.active_units),
        }
        if self.code_counts is not None:
            figures["codebook_perplexity"] = float(perplexity_of(self.code_counts))
            figures["codes_used"] = float((self.code_counts > 0).sum())
        if posterior == "deterministic":
            return figures
        figures["kl"] = float(self.kl.mean())
        figures["elbo"] = -figures["reconstruction"] - figures["kl"]
        return figures


@torch.inference_mode()
def evaluate(
    model: Autoencoder, images: Images, labels: Tensor | None = None, *, draws: int = 5
) -> Terms:
    """The ELBO's terms over a whole set, the same for the same model and set.

    Args:
        model: on any device, which the images share.
        images: uint8 [n, c, h, w].
        labels: int64 [n], on any device; read for a conditional model alone.
        draws: latents drawn per image for the reconstruction term.
    """
    device = _device(model)
    classes = known_labels(model, labels)
    generator = torch.Generator(device).manual_seed(_SEED)
    errors, divergences, dims, means = [], [], [], []
    quantizer, counts = model.quantizer, []
    for index in _blocks(len(images), _decoded_size(model) * draws, device):
        targets = images[index].float().div_(255)
        some = None if classes is None else classes[index]
        mean, log_var = model.encode(targets, some)
        shape = (1 if log_var is None else draws, *mean.shape)
        noise = torch.randn(shape, generator=generator, device=device)
        decoded = model.decode_draws(reparameterize(mean, log_var, noise), some)
        drawn = model.likelihood.negative_log_p(decoded, targets)
        errors.append(drawn.mean(0))
        means.append(mean.flatten(1))
        if quantizer is not None:
            codes = quantizer.codes_of(mean).flatten()
            counts.append(torch.bincount(codes, minlength=quantizer.codebook_size).cpu())
        if log_var is not None:
            dim = kl_by_dim(mean, log_var).flatten(1)
            divergences.append(dim.sum(1))
            dims.append(dim.sum(0, dtype=torch.float64))
    by_dim = torch.stack(dims).sum(0) / len(images) if dims else torch.empty(0)
    all_errors = torch.cat(errors).cpu()
    return Terms(
        all_errors.double(),
        torch.cat(divergences).cpu().double() if dims else torch.zeros_like(all_errors).double(),
        by_dim.cpu(),
        torch.cat(means).cpu(),
        torch.stack(counts).sum(0) if counts else None,
    )


@torch.inference_mode()
def latent_dims(
    model: Autoencoder, images: Images, labels: Tensor | None = None
) -> tuple[LatentDim, ...]:
    """Statistics of each latent coordinate over a set (usually the training set).

    The KL of a deterministic posterior is 0.
    """
    means, dims = [], []
    classes = known_labels(model, labels)
    for index in _blocks(len(images), math.prod(model.image_shape), _device(model)):
        some = None if classes is None else classes[index]
        mean, log_var = model.encode(images[index].float().div_(255), some)
        means.append(mean.flatten(1))
        if log_var is not None:
            dims.append(kl_by_dim(mean, log_var).flatten(1).sum(0, dtype=torch.float64))
    mean = torch.cat(means).double()
    kls = torch.stack(dims).sum(0) / len(images) if dims else torch.zeros(mean.shape[1])
    spread = mean.std(0, correction=0)
    return tuple(
        LatentDim(kl=kl, mean=centre, std=std)
        for kl, centre, std in zip(
            kls.tolist(), mean.mean(0).tolist(), spread.tolist(), strict=True
        )
    )


def known_labels(model: Autoencoder, labels: Tensor | None) -> Tensor | None:
    """The labels as a model takes them, on its device; None unless it is conditional.

    Raises:
        DataError: a conditional model has no labels, or they are none of its classes.
    """
    if not model.label_count:
        return None
    if labels is None:
        raise DataError("labels: a conditional model needs images with labels, got none")
    least, most = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if least < 0 or most >= model.label_count:
        raise DataError(
            f"labels: the model knows the classes 0 to {model.label_count - 1}, got {least} to "
            f"{most}"
        )
    return labels.to(_device(model))


def _blocks(count: int, values_per_image: int, device: torch.device) -> tuple[Tensor, ...]:
    """The indices of all images, in blocks of bounded memory."""
    size = max(1, min(_MOST_IMAGES, _MOST_VALUES // values_per_image))
    return torch.split(torch.arange(count, device=device), size)


def _decoded_size(model: Autoencoder) -> int:
    """Values that the decoder gives for one image."""
    channels, height, width = model.image_shape
    return model.likelihood.channels(channels) * height * width


def _device(model: Autoencoder) -> torch.device:
    return next(model.parameters()).device
