"""The spec of a model: what a caller must know to use it, whatever it was made with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from latens_serving.bundle.axes import (
    Axis,
    LatentAxis,
    Shape,
    Size,
    SpecError,
    Strict,
    check_shape,
    described,
    elements,
)

__all__ = ["Axis", "LatentAxis", "ModelSpec", "Scaling", "SpecError"]

LARGEST_TOLERANCE = {"float32": 1e-2, "tf32": 5e-2, "float16": 5e-2, "int8": 1e-1}
"""By precision: the largest tolerance that a bundle may state. A larger one would accept graphs
that compute something else than the network."""

_ATTRIBUTE_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_IMAGE_AXES = ["channels", "height", "width"]
_FLOAT_BYTES = 4

Range: TypeAlias = tuple[FiniteFloat, FiniteFloat]


class Modality(StrEnum):
    """What the data are."""

    IMAGE = "image"
    """`[channels, height, width]`, values 0 to 1."""
    AUDIO = "audio"
    TABULAR = "tabular"
    OTHER = "other"


class Posterior(StrEnum):
    """The form of q(z|x)."""

    DIAGONAL_GAUSSIAN = "diagonal-gaussian"
    DETERMINISTIC = "deterministic"

    @classmethod
    def _missing_(cls, value: object) -> Posterior | None:
        """Reads "point", the former name of "deterministic"."""
        return cls.DETERMINISTIC if value == "point" else None


class Prior(StrEnum):
    """The distribution p(z) that Sample draws from."""

    STANDARD_NORMAL = "standard-normal"
    FITTED_GAUSSIAN = "fitted-gaussian"
    """Its parameters are a file of the bundle."""
    NONE = "none"


class Likelihood(StrEnum):
    """The distribution p(x|z) that the model was trained with."""

    BERNOULLI = "bernoulli"
    GAUSSIAN = "gaussian"
    NONE = "none"
    """The model was trained without one: nothing is given in nats."""


class Tiles(StrEnum):
    """Whether a large input may be computed in parts."""

    EXACT = "exact"
    """The network is local: parts with a halo give the same values as the whole."""
    APPROXIMATE = "approximate"
    """Parts differ from the whole, since the network looks at all of it."""
    NONE = "none"


class LatentDim(Strict):
    """Statistics of one latent coordinate over the training set."""

    kl: FiniteFloat
    """Mean over the data of KL(q(z_i|x) || p(z_i)), nats."""
    mean: FiniteFloat
    """Mean over the data of the posterior's mean."""
    std: FiniteFloat
    """Standard deviation over the data of the posterior's mean."""


class Scaling(Strict):
    """What the graphs do to the network's own latents: `(z - shift) * scale`, in packs."""

    scale: FiniteFloat = 1
    shift: FiniteFloat = 0
    packing: Size = 1
    """The edge of the square of latents that became channels; 1 for none."""


def _known_precision(precision: str) -> str:
    if precision not in LARGEST_TOLERANCE:
        raise ValueError(f"expected one of {', '.join(LARGEST_TOLERANCE)}, got {precision!r}")
    return precision


class ModelSpec(Strict):
    """What a caller must know to use the model."""

    modality: Modality = Modality.IMAGE
    data_axes: Annotated[tuple[Axis, ...], Field(min_length=1, max_length=8)]
    data_range: Range | None = (0, 1)
    """The least and the largest value that callers send; None for any finite value."""
    latent_axes: Annotated[tuple[LatentAxis, ...], Field(min_length=1, max_length=8)]
    posterior: Posterior
    prior: Prior = Prior.STANDARD_NORMAL
    likelihood: Likelihood = Likelihood.NONE
    sigma: Annotated[FiniteFloat, Field(gt=0)] = 0.5**0.5
    """Standard deviation of a pixel given the latent, for a Gaussian likelihood."""
    codebook_size: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    """The number of codes, for latents that are int64 codes; None for float32 latents."""
    scaling: Scaling | None = None
    """What was folded into the graphs; recorded, callers need not know."""
    graph_range: Range | None = None
    """The network's own range of values, folded into the graphs; recorded."""
    tiles: Tiles = Tiles.NONE
    halo: Annotated[int, Field(ge=0)] = 0
    """The receptive field of one output value, data elements to each side; for exact tiles."""
    precision: Annotated[str, AfterValidator(_known_precision)] = "float32"
    tolerance: Annotated[FiniteFloat, Field(gt=0)]
    """Largest absolute difference from the training framework, for mean, log_var and data; at
    most that of `LARGEST_TOLERANCE`."""
    error: Annotated[FiniteFloat, Field(ge=0)] | None = None
    """The largest difference from float32 that was measured on real inputs."""
    architecture: str = ""
    beta: Annotated[FiniteFloat, Field(ge=0)] | None = None
    dataset: str = ""
    parameter_count: Annotated[int, Field(ge=0)] = 0
    latent_dims: tuple[LatentDim, ...] = ()
    """One entry per coordinate, in C order of the latent shape; empty when not known."""
    attributes: dict[Annotated[str, Field(pattern=_ATTRIBUTE_NAME)], tuple[FiniteFloat, ...]] = (
        Field(default_factory=dict)
    )
    """Directions by name (`bold`, `italic`). A direction added to a latent strengthens that
    attribute of the data. Each has one value per coordinate, in C order of the latent shape."""

    @model_validator(mode="after")
    def _is_consistent(self) -> ModelSpec:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    @property
    def is_free(self) -> bool:
        """Whether the data have an axis whose size the caller chooses."""
        return any(axis.is_free for axis in self.data_axes)

    @property
    def gives_nats(self) -> bool:
        """Whether a reconstruction has a probability."""
        return self.likelihood is not Likelihood.NONE

    @property
    def gives_kl(self) -> bool:
        """Whether a posterior has a divergence from the prior that the model was trained with."""
        return (
            self.gives_nats
            and self.posterior is Posterior.DIAGONAL_GAUSSIAN
            and self.prior is Prior.STANDARD_NORMAL
        )

    @property
    def is_image(self) -> bool:
        return self.modality is Modality.IMAGE

    @cached_property
    def data_shape(self) -> tuple[int | None, ...]:
        """The shape of one row of data, None for a free axis."""
        return tuple(axis.size for axis in self.data_axes)

    @cached_property
    def latent_shape(self) -> tuple[int | None, ...]:
        """The shape of one latent, None for a free axis."""
        return tuple(axis.size for axis in self.latent_axes)

    @cached_property
    def latent_sizes(self) -> tuple[Axis, ...]:
        """The latent axes with the multiple and the bounds that follow from the data's."""
        return tuple(self._latent_size(axis) for axis in self.latent_axes)

    @cached_property
    def usual_data_shape(self) -> Shape:
        return tuple(axis.usual_size for axis in self.data_axes)

    @cached_property
    def usual_latent_shape(self) -> Shape:
        return tuple(axis.usual_size for axis in self.latent_sizes)

    @cached_property
    def smallest_data_shape(self) -> Shape:
        return tuple(axis.smallest_size for axis in self.data_axes)

    @cached_property
    def smallest_latent_shape(self) -> Shape:
        return tuple(axis.smallest_size for axis in self.latent_sizes)

    @cached_property
    def largest_row_bytes(self) -> int:
        """Float32 bytes of the largest row of data with the two parameters of its posterior."""
        return _FLOAT_BYTES * (elements(self.data_axes) + 2 * elements(self.latent_sizes))

    def row_bytes(self, data_shape: Sequence[int]) -> int:
        """As `largest_row_bytes`, of a row of data of that shape."""
        latent = math.prod(self.latent_shape_of(data_shape))
        return _FLOAT_BYTES * (math.prod(data_shape) + 2 * latent)

    def check_data_shape(self, shape: Sequence[int]) -> None:
        """Refuses rows of data of another shape.

        Raises:
            SpecError: names the axis, its multiple and bounds, and the nearest allowed size.
        """
        check_shape("images" if self.is_image else "items", self.data_axes, shape)

    def check_latent_shape(self, shape: Sequence[int]) -> None:
        """Refuses latents of another shape; raises as `check_data_shape` does."""
        check_shape("latents", self.latent_sizes, shape)
        found: dict[str, int] = {}
        for axis, size in zip(self.latent_axes, shape, strict=True):
            if axis.of and found.setdefault(axis.of, size * axis.stride) != size * axis.stride:
                raise SpecError(
                    f"{axis.name}: {size} latents stand for {size * axis.stride} data elements of "
                    f"{axis.of}, another axis says {found[axis.of]}"
                )

    def latent_shape_of(self, data_shape: Sequence[int]) -> Shape:
        """The shape of the latent of a row of data; raises as `check_data_shape` does."""
        self.check_data_shape(data_shape)
        sizes = dict(zip((axis.name for axis in self.data_axes), data_shape, strict=True))
        return tuple(axis.size or sizes[axis.of] // axis.stride for axis in self.latent_axes)

    def data_shape_of(self, latent_shape: Sequence[int]) -> Shape:
        """The shape of the data of a latent; raises as `check_latent_shape` does."""
        self.check_latent_shape(latent_shape)
        sizes = {
            axis.of: size * axis.stride
            for axis, size in zip(self.latent_axes, latent_shape, strict=True)
        }
        return tuple(axis.size or sizes[axis.name] for axis in self.data_axes)

    @property
    def data_axes_described(self) -> str:
        """The data axes in words, as in `expected images of shape [n, 3, height, width]`."""
        return described(self.data_axes)

    def _latent_size(self, axis: LatentAxis) -> Axis:
        if axis.size is not None:
            return Axis(name=axis.name, size=axis.size)
        of = next(data for data in self.data_axes if data.name == axis.of)
        return Axis(
            name=axis.name,
            multiple=of.multiple // axis.stride,
            minimum=of.minimum // axis.stride,
            maximum=of.maximum // axis.stride,
            usual=of.usual // axis.stride,
        )

    def _problems(self) -> Iterator[str]:
        yield from _problems_of_axes(self.data_axes, self.latent_axes)
        if self.is_image and [axis.name for axis in self.data_axes] != _IMAGE_AXES:
            yield f"data_axes: expected {', '.join(_IMAGE_AXES)} of images"
        if self.is_image and (self.data_axes[0].is_free or self.data_range != (0, 1)):
            yield "expected images with a fixed number of channels and values from 0 to 1"
        if self.data_range is not None and self.data_range[0] >= self.data_range[1]:
            yield f"data_range: expected the least value first, got {self.data_range}"
        if self.codebook_size is not None and (
            self.posterior is not Posterior.DETERMINISTIC or self.prior is not Prior.NONE
        ):
            yield "codebook_size: codes have a deterministic posterior and no prior"
        largest = LARGEST_TOLERANCE[self.precision]
        if self.tolerance > largest:
            yield (
                f"tolerance: {self.tolerance:g}, but {self.precision} graphs may state at most "
                f"{largest:g}"
            )
        yield from self._problems_of_attributes()

    def _problems_of_attributes(self) -> Iterator[str]:
        if not self.attributes:
            return
        if any(size is None for size in self.latent_shape):
            yield "attributes: expected a latent of fixed shape"
        size = math.prod(self.usual_latent_shape)
        for name, direction in self.attributes.items():
            if len(direction) != size:
                yield (
                    f"attributes.{name}: expected {size} values, one per coordinate of the latent, "
                    f"got {len(direction)}"
                )


def fixed_image_axes(shape: tuple[int, int, int]) -> tuple[Axis, ...]:
    """The axes of images of one shape: channels, height, width."""
    return tuple(Axis(name=name, size=size) for name, size in zip(_IMAGE_AXES, shape, strict=True))


def fixed_latent_axes(shape: Sequence[int]) -> tuple[LatentAxis, ...]:
    """The axes of latents of one shape: a vector, feature maps, or any other."""
    by_rank = {1: ["features"], 3: _IMAGE_AXES}
    names = by_rank.get(len(shape)) or [f"axis{place}" for place in range(len(shape))]
    return tuple(LatentAxis(name=name, size=size) for name, size in zip(names, shape, strict=True))


def _problems_of_axes(data: Sequence[Axis], latent: Sequence[LatentAxis]) -> Iterator[str]:
    for what, axes in (("data_axes", data), ("latent_axes", latent)):
        names = [axis.name for axis in axes]
        if len(set(names)) != len(names):
            yield f"{what}: expected names that differ, got {', '.join(names)}"
    free = {axis.name: axis for axis in data if axis.is_free}
    for axis in latent:
        if not axis.of:
            continue
        if axis.of not in free:
            yield f"latent_axes.{axis.name}: expected `of` to name a free data axis, got {axis.of}"
        elif free[axis.of].multiple % axis.stride:
            yield (
                f"latent_axes.{axis.name}: expected a stride that divides the multiple of "
                f"{axis.of}, {free[axis.of].multiple}, got {axis.stride}"
            )
    if missing := free.keys() - {axis.of for axis in latent}:
        yield f"data_axes.{min(missing)}: a free axis must have a latent axis of it"
