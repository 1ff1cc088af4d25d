"""Descriptions of models: the latent contract of `GetModel`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from latens import axes
from latens.axes import Axes, ModelAxis, Shape, Sizes
from latens.v1 import latens_pb2 as pb

_IMAGE_AXES = ("channels", "height", "width")


@dataclass(frozen=True)
class Limits:
    """The limits of one call to a model."""

    max_rows: int
    """Rows (images or latents, in or out). For Interpolate: paths times steps. Where sizes are
    free: of the smallest size."""
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
class Scaling:
    """How the graphs convert the network's own latents: `(z - shift) * scale`, in packs."""

    scale: float
    shift: float
    packing: int


@dataclass(frozen=True)
class Tiling:
    """Whether a large image can be computed in parts."""

    kind: str
    """`EXACT`, `APPROXIMATE` or `NONE`."""
    halo: int
    """The pixels that a part needs on each side, for `EXACT`."""


@dataclass(frozen=True, repr=False)
class Model:
    """One version of a model. The fields are those of the message `latens.v1.Model`."""

    name: str
    version: str
    state: str
    """`LOADING`, `READY`, `DRAINING` or `FAILED`."""
    state_reason: str
    image_shape: tuple[int, ...]
    """Channels, height, width; 0 for an axis whose size the caller chooses. Of another modality
    than images: the shape of an item."""
    latent_shape: tuple[int, ...]
    """0 for an axis that follows an axis of the image."""
    architecture: str
    beta: float
    dataset: str
    likelihood: str
    """`BERNOULLI`, `GAUSSIAN` or `NONE`."""
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
    image_axes: Axes = ()
    """The axes of the image, with the sizes that they can have."""
    latent_axes: Axes = ()
    """The axes of the latent, with the sizes that follow."""
    prior: str = "STANDARD_NORMAL"
    """`STANDARD_NORMAL`, `FITTED_GAUSSIAN` or `NONE`; with `NONE` there is no `sample`."""
    modality: str = "IMAGE"
    """`IMAGE`, `AUDIO`, `TABULAR` or `OTHER`."""
    scaling: Scaling | None = None
    """The conversion of latents inside the graphs; None if there is none."""
    tiling: Tiling | None = None
    measured_error: float | None = None
    """The largest difference from float32 that was measured on real inputs."""
    label_names: tuple[str, ...] = ()
    """What the labels 0, 1, ... of the data set stand for; empty if not known."""
    label_count: int = 0
    """Classes of a conditional model, whose calls take `labels`; 0 for other models."""
    codebook_size: int = 0
    """The number of codes, for a model whose latents are codes; 0 for others."""

    def __repr__(self) -> str:
        """Name, version and what it converts, in one line."""
        sizes = self.usual_sizes
        data, latent = ("x".join(map(str, shape)) for shape in (sizes.image, sizes.latent))
        free = ", free sizes" if self.is_free else ""
        codes = f" of {self.codebook_size} codes" if self.has_codes else ""
        return (
            f"<Model {self.name!r} version {self.version} {self.state}: {self.architecture}, "
            f"{self.modality.lower()} {data}, latent {latent}{codes}{free}, {self.precision}>"
        )

    @property
    def has_codes(self) -> bool:
        """Whether latents are codes: int64 from 0 to `codebook_size` minus 1."""
        return self.codebook_size > 0

    @property
    def is_image(self) -> bool:
        """Whether the data are images; else items of raw values."""
        return self.modality in ("IMAGE", "UNSPECIFIED")  # older servers do not say

    @property
    def data_field(self) -> str:
        """What the data are called in messages."""
        return "images" if self.is_image else "items"

    @cached_property
    def is_free(self) -> bool:
        """Whether the caller chooses sizes."""
        return any(axis.is_free for axis in self.image_axes)

    @cached_property
    def usual_sizes(self) -> Sizes:
        """The shapes that the model was made for."""
        image, latent = (
            tuple(axis.size or axis.usual for axis in described)
            for described in (self.image_axes, self.latent_axes)
        )
        return Sizes(image or self.image_shape, latent or self.latent_shape)

    @property
    def latent_size(self) -> int:
        """The number of latent coordinates; of the usual size, where sizes are free."""
        return math.prod(self.usual_sizes.latent)

    def sizes_of_image(self, field: str, shape: Shape) -> Sizes:
        """The sizes of an image of this shape; those of the model, where they are fixed.

        Raises:
            InvalidInputError: the model takes no such size; the message has the nearest.
        """
        if not self.is_free:
            return self.usual_sizes
        axes.check(field, self.image_axes, shape)
        by_name = dict(zip((axis.name for axis in self.image_axes), shape, strict=True))
        latent = tuple(axis.size or by_name[axis.of] // axis.stride for axis in self.latent_axes)
        return Sizes(shape, latent, are_chosen=True)

    def sizes_of_latent(self, field: str, shape: Shape) -> Sizes:
        """The sizes of a latent of this shape; raises as `sizes_of_image` does."""
        if not self.is_free:
            return self.usual_sizes
        axes.check(field, self.latent_axes, shape)
        by_name = {
            axis.of: size * axis.stride for axis, size in zip(self.latent_axes, shape, strict=True)
        }
        image = tuple(axis.size or by_name[axis.name] for axis in self.image_axes)
        return Sizes(image, shape, are_chosen=True)

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
        image_axes=_axes(message.image_axes) or axes.fixed(_IMAGE_AXES, message.image_shape),
        latent_axes=_axes(message.latent_axes) or axes.fixed((), message.latent_shape),
        prior=_name(pb.Prior, message.prior, "PRIOR_"),
        modality=_name(pb.Modality, message.modality, "MODALITY_"),
        scaling=_scaling(message),
        tiling=_tiling(message),
        measured_error=message.measured_error if message.HasField("measured_error") else None,
        label_names=tuple(message.label_names),
        codebook_size=message.codebook_size,
        label_count=message.label_count,
    )


def _axes(messages: Iterable[pb.Axis]) -> Axes:
    return tuple(
        ModelAxis(
            axis.name,
            axis.size,
            axis.multiple or 1,
            axis.minimum,
            axis.maximum,
            axis.usual,
            axis.of,
            axis.stride or 1,
        )
        for axis in messages
    )


def _scaling(message: pb.Model) -> Scaling | None:
    if not message.HasField("scaling"):
        return None
    return Scaling(message.scaling.scale, message.scaling.shift, message.scaling.packing)


def _tiling(message: pb.Model) -> Tiling | None:
    if not message.HasField("tiling"):
        return None
    kind = _name(pb.Tiling.Kind, message.tiling.kind, "KIND_")
    return Tiling(kind, message.tiling.halo)


def _name(enum: Any, value: int, prefix: str) -> str:
    names: dict[int, str] = {number: name for name, number in enum.items()}
    return names.get(value, str(value)).removeprefix(prefix)
