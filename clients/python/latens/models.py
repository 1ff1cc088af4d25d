"""Descriptions of models: the latent contract of `GetModel`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latens.v1 import latens_pb2 as pb


@dataclass(frozen=True)
class Limits:
    """The limits of one call to a model."""

    max_rows: int
    """Rows (images or latents, in or out). For Interpolate: paths times steps."""
    max_message_bytes: int
    """Bytes of one message, request or response."""
    max_row_passes: int = 0
    """Images times iterations of Inpaint, or times samples of Score; 0 when not stated."""


@dataclass(frozen=True)
class LatentDim:
    """Statistics of one latent coordinate over the training set."""

    kl: float
    """Mean over the data of KL(q(z_i|x) || p(z_i)), nats: how much the coordinate is used."""
    mean: float
    """Mean over the data of the posterior's mean."""
    std: float
    """Standard deviation over the data of the posterior's mean."""


@dataclass(frozen=True)
class Model:
    """One version of a model. The fields are those of the message `latens.v1.Model`."""

    name: str
    version: str
    state: str
    """`LOADING`, `READY`, `DRAINING` or `FAILED`."""
    state_reason: str
    image_shape: tuple[int, ...]
    """Channels, height, width."""
    latent_shape: tuple[int, ...]
    architecture: str
    beta: float
    dataset: str
    likelihood: str
    """`BERNOULLI` or `GAUSSIAN`."""
    posterior: str
    """`DIAGONAL_GAUSSIAN` or `DETERMINISTIC`."""
    precision: str
    tolerance: float
    """Largest absolute difference from the framework that trained it."""
    encoder_sha256: str
    decoder_sha256: str
    parameter_count: int
    limits: Limits
    noise_generator: str
    provider: str
    latent_dims: tuple[LatentDim, ...]
    """One per coordinate, in C order of the latent shape; empty when not known."""
    metrics: Mapping[str, float]
    """Test-set figures of the training run by name: nats per image, and counts (`active_units`)."""
    attributes: Mapping[str, tuple[float, ...]]
    """Directions by name, one value per coordinate: added to a latent, they strengthen it."""
    sigma: float
    """Standard deviation of a pixel given the latent, for `GAUSSIAN`; 0 for another likelihood."""

    @property
    def latent_size(self) -> int:
        """The number of latent coordinates."""
        return math.prod(self.latent_shape)

    def coordinates_by_activity(self) -> tuple[int, ...]:
        """The latent coordinates by falling KL divergence; in their own order if it is not known.

        Burda, Grosse and Salakhutdinov (2016) call those with almost none inactive.
        """
        kl = [dim.kl for dim in self.latent_dims] or [0.0] * self.latent_size
        return tuple(sorted(range(self.latent_size), key=lambda index: -kl[index]))


def from_message(message: pb.Model) -> Model:
    """The description in a message; unknown enum values become their numbers."""
    return Model(
        name=message.name,
        version=message.version,
        state=_name(pb.ModelState, message.state, "MODEL_STATE_"),
        state_reason=message.state_reason,
        image_shape=tuple(message.image_shape),
        latent_shape=tuple(message.latent_shape),
        architecture=message.architecture,
        beta=message.beta,
        dataset=message.dataset,
        likelihood=_name(pb.Likelihood, message.likelihood, "LIKELIHOOD_"),
        posterior=_name(pb.Posterior, message.posterior, "POSTERIOR_"),
        precision=message.precision,
        tolerance=message.tolerance,
        encoder_sha256=message.encoder_sha256,
        decoder_sha256=message.decoder_sha256,
        parameter_count=message.parameter_count,
        limits=Limits(
            message.limits.max_rows,
            message.limits.max_message_bytes,
            message.limits.max_row_passes,
        ),
        noise_generator=message.noise_generator,
        provider=message.provider,
        latent_dims=tuple(LatentDim(dim.kl, dim.mean, dim.std) for dim in message.latent_dims),
        metrics=dict(message.metrics),
        attributes={entry.name: tuple(entry.direction) for entry in message.attributes},
        sigma=message.sigma,
    )


def _name(enum: Any, value: int, prefix: str) -> str:
    names: dict[int, str] = {number: name for name, number in enum.items()}
    return names.get(value, str(value)).removeprefix(prefix)
