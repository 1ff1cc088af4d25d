"""The axes of data and latents: a fixed size, or sizes between bounds in steps of a multiple."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

LARGEST_SIZE = 1 << 24
"""Elements along one axis."""

Shape: TypeAlias = tuple[int, ...]
AxisName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Size: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]


class SpecError(Exception):
    """A shape that a model does not take. The message names the axis and the sizes allowed."""


class Strict(BaseModel):
    """A frozen model without unknown fields."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        ser_json_inf_nan="strings",
        serialize_by_alias=True,
        validate_by_name=True,
        validate_by_alias=True,
    )


class Axis(Strict):
    """One axis of the data: fixed if `size` is given, else free."""

    name: AxisName
    size: Size | None = None
    multiple: Size = 1
    """Of a free axis, and so are the three below."""
    minimum: Size = 1
    maximum: Size = 1
    usual: Size = 1
    """The size that the model was made for."""

    @model_validator(mode="after")
    def _bounds_are_multiples_in_order(self) -> Axis:
        bounds = (self.minimum, self.usual, self.maximum)
        if self.size is not None:
            if (self.multiple, *bounds) != (1, 1, 1, 1):
                raise ValueError(f"{self.name}: expected a size or bounds, got both")
        elif list(bounds) != sorted(bounds) or any(bound % self.multiple for bound in bounds):
            raise ValueError(
                f"{self.name}: expected minimum <= usual <= maximum, multiples of "
                f"{self.multiple}, got {self.minimum}, {self.usual}, {self.maximum}"
            )
        return self

    @property
    def is_free(self) -> bool:
        return self.size is None

    @property
    def usual_size(self) -> int:
        return self.size or self.usual

    @property
    def largest_size(self) -> int:
        return self.size or self.maximum

    @property
    def smallest_size(self) -> int:
        return self.size or self.minimum

    def nearest(self, size: int) -> int:
        """The allowed size that is nearest; the larger one of two."""
        if self.size is not None:
            return self.size
        rounded = (size + self.multiple // 2) // self.multiple * self.multiple
        return min(max(rounded, self.minimum), self.maximum)

    def check(self, size: int) -> None:
        """Refuses other sizes.

        Raises:
            SpecError: names the multiple, the bounds and the nearest allowed size.
        """
        if size != self.nearest(size):
            raise SpecError(
                f"{self.name}: expected {self.sizes_allowed}, got {size}"
                + (f"; the nearest allowed size is {self.nearest(size)}" if self.is_free else "")
            )

    @property
    def sizes_allowed(self) -> str:
        """The sizes in words: `3`, or `a multiple of 8 from 64 to 1024`."""
        if self.size is not None:
            return str(self.size)
        of = f"a multiple of {self.multiple} from" if self.multiple > 1 else "a size from"
        return f"{of} {self.minimum} to {self.maximum}"


class LatentAxis(Strict):
    """One axis of the latent: fixed if `size` is given, else a fraction of a data axis."""

    name: AxisName
    size: Size | None = None
    of: str = ""
    """The name of the free data axis."""
    stride: Size = 1
    """Data elements per latent element."""

    @model_validator(mode="after")
    def _has_a_size_or_a_data_axis(self) -> LatentAxis:
        if (self.size is None) == (not self.of):
            raise ValueError(f"{self.name}: expected either a size or a data axis (`of`)")
        return self


def check_shape(what: str, axes: Sequence[Axis], shape: Sequence[int]) -> None:
    """Compares the shape of one row with the axes.

    Raises:
        SpecError: another number of axes, or a size that an axis does not allow.
    """
    if len(shape) != len(axes):
        raise SpecError(f"expected {what} of shape [{described(axes)}], got {list(shape)}")
    for axis, size in zip(axes, shape, strict=True):
        axis.check(size)


def described(axes: Sequence[Axis]) -> str:
    """The axes in words, as in an error: `3, height, width`."""
    return ", ".join(axis.name if axis.is_free else str(axis.size) for axis in axes)


def elements(axes: Sequence[Axis]) -> int:
    """The most elements of one row."""
    return math.prod(axis.largest_size for axis in axes)


def problems_of_axes(data: Sequence[Axis], latent: Sequence[LatentAxis]) -> Iterator[str]:
    """What contradicts itself in the axes of data and latents, a sentence each."""
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
