"""The axes of a model's images and latents, and the sizes that they can have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from latens.errors import invalid

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class ModelAxis:
    """One axis. The fields are those of the message `latens.v1.Axis`."""

    name: str
    size: int = 0
    """0 if the caller chooses a multiple of `multiple` from `minimum` to `maximum`."""
    multiple: int = 1
    minimum: int = 1
    maximum: int = 1
    usual: int = 1
    """The size that the model was made for."""
    of: str = ""
    """For a free axis of the latent: the name of the image axis that it follows."""
    stride: int = 1
    """For a free axis of the latent: image elements per latent element."""

    @property
    def is_free(self) -> bool:
        return not self.size

    def allows(self, size: int) -> bool:
        return size == self.nearest(size)

    def nearest(self, size: int) -> int:
        """The allowed size that is nearest; the larger one of two."""
        if self.size:
            return self.size
        multiple = max(self.multiple, 1)
        rounded = (size + multiple // 2) // multiple * multiple
        return min(max(rounded, self.minimum), self.maximum)

    def refusal(self, size: int) -> str:
        """What was expected, what was given, and what is nearest."""
        if self.size:
            return f"{self.name}: expected {self.size}, got {size}"
        return (
            f"{self.name}: expected a multiple of {self.multiple} from {self.minimum} to "
            f"{self.maximum}, got {size}; the nearest allowed size is {self.nearest(size)}"
        )


Axes: TypeAlias = tuple[ModelAxis, ...]


@dataclass(frozen=True)
class Sizes:
    """The shapes of an image and of its latent."""

    image: Shape
    latent: Shape
    are_chosen: bool = False
    """Whether the caller chose them."""

    @cached_property
    def latent_bytes(self) -> int:
        """Bytes of one latent in a message."""
        return 4 * math.prod(self.latent)

    def image_bytes(self, element_bytes: int) -> int:
        """Bytes of one image in a message."""
        return math.prod(self.image) * element_bytes

    @cached_property
    def row_bytes(self) -> int:
        """The bytes by which a server counts rows of chosen sizes: a float32 image and two latents.

        0 for a model of one size, whose rows are counted alone.
        """
        if not self.are_chosen:
            return 0
        return self.image_bytes(4) + 2 * self.latent_bytes


def fixed(names: Sequence[str], shape: Sequence[int]) -> Axes:
    """Axes of one size each, for a server that does not describe them."""
    padded = [*names, *(f"axis{place}" for place in range(len(names), len(shape)))]
    return tuple(ModelAxis(name, size) for name, size in zip(padded, shape, strict=False))


def fits(axes: Axes, shape: Sequence[int]) -> bool:
    """Whether a row can have this shape."""
    return len(shape) == len(axes) and all(
        axis.allows(size) for axis, size in zip(axes, shape, strict=True)
    )


def check(field: str, axes: Axes, shape: Sequence[int]) -> None:
    """Refuses rows of another shape.

    Raises:
        InvalidInputError: names the axis, its multiple and bounds, and the nearest allowed size.
    """
    if len(shape) != len(axes):
        described = ", ".join(axis.name if axis.is_free else str(axis.size) for axis in axes)
        raise invalid(field, f"expected rows of shape [{described}], got {list(shape)}")
    for axis, size in zip(axes, shape, strict=True):
        if not axis.allows(size):
            raise invalid(field, axis.refusal(size))
