"""What the figures show: a model, the test images, and their codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from latens_training.metrics.evaluation import ACTIVE_VARIANCE, known_labels

if TYPE_CHECKING:
    from latens_training.models.autoencoder import Autoencoder

STEPS = 21
"""The article's number of values along a coordinate, from -3 to 3."""
_REACH = 3.0
_CHUNK = 512
_MOST_VALUES = 1 << 24
"""Values of images in memory at once while they are decoded: 64 MiB."""


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
        objective: what the training loss is, as `elbo` or `iwae`.
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
    label_name: str = "label"
    """Of an attribute, such as `weight`, whose values have an order, its name."""
    classes: NDArray[np.int64] | None = None
    """What a conditional model knows of each image, [n]; None for other models."""

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
        """Latents [n, L] of offsets [n, L] from -3 to 3.

        With a prior they count its standard deviations. Without one they span the codes: -3 is the
        first of a hundred quantiles, 0 the median and 3 the last, so that no place is far from all
        codes, however skewed they are.
        """
        if self.log_vars is not None:
            return np.asarray(self.centre + self.scale * units, dtype=np.float64)
        low, middle, high = self.quantiles
        below, above = np.minimum(units, 0) / _REACH, np.maximum(units, 0) / _REACH
        return np.asarray(middle - below * (low - middle) + above * (high - middle), np.float64)

    @cached_property
    def quantiles(self) -> NDArray[np.float64]:
        """The first, the middle and the last of a hundred quantiles of the codes, [3, L]."""
        return np.quantile(self.means.astype(np.float64), [0.01, 0.5, 0.99], axis=0)

    @property
    def reach(self) -> str:
        """Describes what a scan covers."""
        if self.log_vars is None:
            return f"{STEPS} steps from the first to the last of a hundred quantiles of the codes"
        return f"{STEPS} steps from -3 to 3"

    def decode(
        self, latents: NDArray[np.floating], classes: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Images in [0, 1], float32 [n, c, h, w], of latents [n, L].

        A conditional model decodes them in the given classes [n], or all in the class 0.
        """
        shaped = latents.astype(np.float32).reshape(-1, *self.model.latent_shape)
        channels, height, width = self.model.image_shape
        values = self.model.likelihood.channels(channels) * height * width
        chunk = max(1, min(_CHUNK, _MOST_VALUES // values))
        labels = None
        if self.model.label_count:
            known = np.zeros(len(shaped), np.int64) if classes is None else classes
            labels = torch.from_numpy(known)
        with torch.inference_mode():
            parts = [
                self.model.images(
                    torch.from_numpy(shaped[i : i + chunk]),
                    None if labels is None else labels[i : i + chunk],
                )
                for i in range(0, len(shaped), chunk)
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
    means, log_vars = encode(model, images, known.get("classes"))
    return Subject(model, images, labels, means, log_vars, caption, **known)


def encode(
    model: Autoencoder, images: NDArray[np.uint8], classes: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The posterior of each image: means [n, L] and log-variances [n, L] or None."""
    labels = known_labels(model, None if classes is None else torch.from_numpy(classes))
    means: list[torch.Tensor] = []
    log_vars: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(images), _CHUNK):
            batch = torch.tensor(images[start : start + _CHUNK]).float() / 255
            some = None if labels is None else labels[start : start + _CHUNK]
            mean, log_var = model.encode(batch, some)
            means.append(mean.flatten(1))
            if log_var is not None:
                log_vars.append(log_var.flatten(1))
    spread = torch.cat(log_vars).numpy() if log_vars else None
    return torch.cat(means).numpy(), spread
