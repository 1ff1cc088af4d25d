"""The spec of a model: what a caller must know to use it, whatever it was made with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import AfterValidator, Field, FiniteFloat, PositiveFloat, model_validator

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
    problems_of_axes,
)
from latens_serving.bundle.conditional import MOST_LABELS
from latens_serving.bundle.kinds import Likelihood, Modality, Posterior, Prior, Tiles

__all__ = [
    "Axis",
    "LatentAxis",
    "Likelihood",
    "Modality",
    "ModelSpec",
    "Posterior",
    "Prior",
    "Scaling",
    "SpecError",
    "Tiles",
]

LARGEST_TOLERANCE = {"float32": 1e-2, "tf32": 5e-2, "float16": 5e-2, "int8": 1e-1}
"""By precision: the largest tolerance that a bundle may state. A larger one would accept graphs
that compute something else than the network."""

_ATTRIBUTE_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_IMAGE_AXES = ["channels", "height", "width"]
_FLOAT_BYTES = 4

Range: TypeAlias = tuple[FiniteFloat, FiniteFloat]


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
    label_count: Annotated[int, Field(ge=1, le=MOST_LABELS)] | None = None
    """The number of classes of a conditional model, whose calls say the class of each row; None for
    other models. Its graphs take rows as `bundle.conditional` joins them."""
    scaling: Scaling | None = None
    """What was folded into the graphs; recorded, callers need not know."""
    graph_range: Range | None = None
    """The network's own range of values, folded into the graphs; recorded."""
    tiles: Tiles = Tiles.NONE
    halo: Annotated[int, Field(ge=0)] = 0
    """The receptive field of one output value, data elements to each side; for exact tiles."""
    activation_bytes: tuple[PositiveFloat, PositiveFloat] | None = None
    """Bytes of the activations of encoder and decoder that exist at a time, per element of the data
    at the usual size; None if not known."""
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
    label_names: tuple[Annotated[str, Field(max_length=63)], ...] = ()
    """What the labels 0, 1, ... of the data set stand for; empty if not known."""
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

    @property
    def has_codes(self) -> bool:
        """Whether a latent is an array of numbers of codes, in place of floats."""
        return self.codebook_size is not None

    @cached_property
    def data_field(self) -> str:
        """What the data are called in messages and graphs."""
        return "images" if self.is_image else "items"

    @cached_property
    def latent_field(self) -> str:
        """What the latents are called in messages and graphs."""
        return "codes" if self.has_codes else "latents"

    @cached_property
    def encoded_fields(self) -> tuple[str, ...]:
        """What the outputs of the encoder are called in messages and graphs."""
        if self.has_codes:
            return ("codes",)
        return ("mean",) if self.posterior is Posterior.DETERMINISTIC else ("mean", "log_var")

    @cached_property
    def latent_dtype(self) -> np.dtype[Any]:
        """The element type of latents in the graphs."""
        return np.dtype(np.int64 if self.has_codes else np.float32)

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

    @cached_property
    def graph_data_axes(self) -> tuple[Axis, ...]:
        """The axes of a row of data as a graph takes it: see `graph_shape`."""
        return _with_label(self.data_axes) if self.label_count else self.data_axes

    @cached_property
    def graph_latent_axes(self) -> tuple[Axis, ...]:
        """The axes of a latent as a graph takes it: see `graph_shape`."""
        return _with_label(self.latent_sizes) if self.label_count else self.latent_sizes

    def graph_shape(self, row_shape: Sequence[int]) -> Shape:
        """The shape of a row as a graph takes it: of a conditional model with its label."""
        if self.label_count is None:
            return tuple(row_shape)
        return (row_shape[0] + 1, *row_shape[1:])

    def row_shape(self, graph_shape: Sequence[int]) -> Shape:
        """The inverse of `graph_shape`."""
        if self.label_count is None:
            return tuple(graph_shape)
        return (graph_shape[0] - 1, *graph_shape[1:])

    def row_bytes(self, data_shape: Sequence[int]) -> int:
        """As `largest_row_bytes`, of a row of data of that shape."""
        latent = math.prod(self.latent_shape_of(data_shape))
        return _FLOAT_BYTES * (math.prod(data_shape) + 2 * latent)

    def check_data_shape(self, shape: Sequence[int]) -> None:
        """Refuses rows of data of another shape.

        Raises:
            SpecError: names the axis, its multiple and bounds, and the nearest allowed size.
        """
        check_shape(self.data_field, self.data_axes, shape)

    def check_latent_shape(self, shape: Sequence[int]) -> None:
        """Refuses latents of another shape; raises as `check_data_shape` does."""
        check_shape(self.latent_field, self.latent_sizes, shape)
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
        yield from problems_of_axes(self.data_axes, self.latent_axes)
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
        if self.has_codes and (self.attributes or self.latent_dims):
            yield "codebook_size: codes have no attributes and no statistics of coordinates"
        if self.label_count is not None and (
            self.is_free or len(self.latent_axes) != 1 or self.has_codes or not self.is_image
        ):
            yield "label_count: a conditional model has images of one size and a latent vector"
        if self.label_count is not None and (self.scaling or self.graph_range):
            yield "label_count: the graphs of a conditional model fold no range and no scaling"
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


def _with_label(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    first = axes[0]
    assert first.size is not None
    return (Axis(name=first.name, size=first.size + 1), *axes[1:])


def fixed_image_axes(shape: tuple[int, int, int]) -> tuple[Axis, ...]:
    """The axes of images of one shape: channels, height, width."""
    return tuple(Axis(name=name, size=size) for name, size in zip(_IMAGE_AXES, shape, strict=True))


def fixed_latent_axes(shape: Sequence[int]) -> tuple[LatentAxis, ...]:
    """The axes of latents of one shape: a vector, feature maps, or any other."""
    by_rank = {1: ["features"], 3: _IMAGE_AXES}
    names = by_rank.get(len(shape)) or [f"axis{place}" for place in range(len(shape))]
    return tuple(LatentAxis(name=name, size=size) for name, size in zip(names, shape, strict=True))
