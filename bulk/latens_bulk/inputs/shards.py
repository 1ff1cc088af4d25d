"""What every kind of input gives: shards, each of them blocks of images with their keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from latens_bulk.errors import BadDataError


class Extent(NamedTuple):
    """What a shard holds: the digest of its input, and which rows of it."""

    digest: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a shard."""

    keys: list[str]
    images: list[bytes] | NDArray[Any]
    """Picture files, or images that are arrays."""
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """By name: the values of what is kept beside the latents."""

    @property
    def size(self) -> int:
        """Bytes of the images as they were read."""
        if isinstance(self.images, list):
            return sum(map(len, self.images))
        return self.images.nbytes


class Shard(Protocol):
    """A part of the input that becomes one part of the output."""

    @property
    def name(self) -> str:
        """What messages call it; the same each time the input is listed."""
        ...

    @property
    def rows(self) -> int | None:
        """The number of rows, where it is known without reading the shard."""
        ...

    def measure(self) -> Extent:
        """Reads as much as is needed to tell whether the shard has changed."""
        ...

    def blocks(self, rows: int) -> Iterator[Block]:
        """Reads the shard, in blocks of so many rows (the last one fewer)."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which columns, arrays or members of an input are read."""

    image: str | None = None
    key: str | None = None
    keep: tuple[str, ...] = ()


def chosen(what: str, present: list[str], wanted: str | None, usual: tuple[str, ...]) -> str | None:
    """The name that was asked for, else the first usual one that is present.

    Raises:
        BadDataError: the name that was asked for is absent.
    """
    if wanted is not None:
        if wanted not in present:
            raise BadDataError(f"{what}: no {wanted!r}; there is {', '.join(present) or 'nothing'}")
        return wanted
    return next((name for name in usual if name in present), None)


def ranges(rows: int, most: int) -> list[tuple[int, int]]:
    """Ranges of at most so many rows that cover all of them."""
    return [(start, min(start + most, rows)) for start in range(0, rows, most)]
