"""What the figures show: a model, the test images, and their codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latens_training.metrics.evaluation import ACTIVE_VARIANCE

if TYPE_CHECKING:
    from latens_training.models.autoencoder import Autoencoder

STEPS = 21
"""The article's number of values along a coordinate, from -3 to 3."""
_REACH = 3.0
_CHUNK = 512


@dataclass(frozen=True)
class Subject:
    """A trained model and its codes of some images; latents are flat here, [n, L].

    Attributes:
        images: uint8 [n, c, h, w].
        labels: int64 [n], or None.
        means: float32 [n, L], the posterior's means of `images`.
        log_vars: float32 [n, L], the logs of its variances; None for a deterministic posterior.
        caption: the model and its data in a few words, for subtitles.
        history: one record per epoch, as the run wrote them.
        objective: what the training loss is, `elbo` or `iwae`.
        class_names: what the labels 0, 1, ... stand for; empty if not known.
    """

    model: Autoencoder
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    means: NDArray[np.float32]
    log_vars: NDArray[np.float32] | None
    caption: str
    history: Sequence[Mapping[str, object]] = field(default=())
    objective: str = "elbo"
    class_names: Sequence[str] = ()

    @property
    def size(self) -> int:
        """L, the number of latent coordinates."""
        return int(self.means.shape[1])

    @cached_property
    def unit_kl(self) -> NDArray[np.float64] | None:
        """KL(q(z_i|x) || p(z_i)) by coordinate, mean over the images, nats [L]."""
        if self.log_vars is None:
            return None
        mean, log_var = self.means.astype(np.float64), self.log_vars.astype(np.float64)
        return np.asarray(-0.5 * (1 + log_var - mean**2 - np.exp(log_var)).mean(axis=0))

    @cached_property
    def unit_variance(self) -> NDArray[np.float64]:
        """Variance of each coordinate's mean over the images, [L]."""
        return np.asarray(self.means.astype(np.float64).var(axis=0))

    @cached_property
    def active(self) -> NDArray[np.bool_]:
        return np.asarray(self.unit_variance > ACTIVE_VARIANCE)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Coordinates by falling KL, or by falling variance of the mean if there is no KL."""
        weight = self.unit_variance if self.unit_kl is None else self.unit_kl
        return np.argsort(-weight, kind="stable")

    @cached_property
    def centre(self) -> NDArray[np.float32]:
        """The prior's mean; without a prior, the mean of the codes."""
        if self.log_vars is None:
            return np.asarray(self.means.mean(axis=0), dtype=np.float32)
        return np.zeros(self.size, dtype=np.float32)

    @cached_property
    def scale(self) -> NDArray[np.float32]:
        """The prior's standard deviation; without a prior, that of the codes."""
        if self.log_vars is None:
            return np.asarray(self.means.std(axis=0), dtype=np.float32)
        return np.ones(self.size, dtype=np.float32)

    def place(self, units: NDArray[np.floating]) -> NDArray[np.float64]:
        """Latents [n, L] from offsets in standard deviations from the centre, [n, L]."""
        return np.asarray(self.centre + self.scale * units, dtype=np.float64)

    @property
    def reach(self) -> str:
        """Describes what a scan covers."""
        if self.log_vars is None:
            return f"{STEPS} steps over 3 deviations of the codes to each side"
        return f"{STEPS} steps from -3 to 3"

    def decode(self, latents: NDArray[np.floating]) -> NDArray[np.float32]:
        """Images in [0, 1], float32 [n, c, h, w], of latents [n, L]."""
        shaped = latents.astype(np.float32).reshape(-1, *self.model.latent_shape)
        with torch.inference_mode():
            parts = [
                torch.sigmoid(self.model.decoder(torch.from_numpy(shaped[i : i + _CHUNK])))
                for i in range(0, len(shaped), _CHUNK)
            ]
        return np.asarray(torch.cat(parts).float().numpy())


def scan() -> NDArray[np.float64]:
    """The article's values: -3, -2.7 .. 3."""
    return np.linspace(-_REACH, _REACH, STEPS)


def observe(
    model: Autoencoder,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    caption: str,
    **known: Any,
) -> Subject:
    """Encodes `images`, uint8 [n, c, h, w]; `known` are further fields of the subject."""
    means, log_vars = encode(model, images)
    return Subject(model, images, labels, means, log_vars, caption, **known)


def encode(
    model: Autoencoder, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The posterior of each image: means [n, L] and log-variances [n, L] or None."""
    means: list[torch.Tensor] = []
    log_vars: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(images), _CHUNK):
            batch = torch.tensor(images[start : start + _CHUNK]).float() / 255
            mean, log_var = model.encoder(batch)
            means.append(mean.flatten(1))
            if log_var is not None:
                log_vars.append(log_var.flatten(1))
    spread = torch.cat(log_vars).numpy() if log_vars else None
    return torch.cat(means).numpy(), spread
