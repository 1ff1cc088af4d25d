"""The ELBO of a model over a whole set, in nats per image; statistics of its coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latens_training.models.autoencoder import Autoencoder, reparameterize
from latens_training.objectives.terms import kl_by_dim, reconstruction
from latens_training.run_record import LatentDim

if TYPE_CHECKING:
    from latens_training.config import LossConfig
    from latens_training.data.types import Images

ACTIVE_VARIANCE = 0.01
_BLOCK = 1000
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
        if posterior == "deterministic":
            return figures
        figures["kl"] = float(self.kl.mean())
        figures["elbo"] = -figures["reconstruction"] - figures["kl"]
        return figures


@torch.inference_mode()
def evaluate(model: Autoencoder, images: Images, config: LossConfig, draws: int = 5) -> Terms:
    """The ELBO's terms over a whole set, the same for the same model and set.

    Args:
        model: on any device, which the images share.
        images: uint8 [n, c, h, w].
        config: likelihood and sigma.
        draws: latents drawn per image for the reconstruction term.
    """
    device = _device(model)
    generator = torch.Generator(device).manual_seed(_SEED)
    errors, divergences, dims, means = [], [], [], []
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
    )


@torch.inference_mode()
def latent_dims(model: Autoencoder, images: Images) -> tuple[LatentDim, ...]:
    """Statistics of each latent coordinate over a set (usually the training set).

    The KL of a deterministic posterior is 0.
    """
    means, dims = [], []
    for index in _blocks(len(images), _device(model)):
        mean, log_var = model.encode(images[index].float().div_(255))
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


def _blocks(count: int, device: torch.device) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(count, device=device), _BLOCK)


def _device(model: Autoencoder) -> torch.device:
    return next(model.parameters()).device
