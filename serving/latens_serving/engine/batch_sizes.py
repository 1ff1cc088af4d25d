"""The sizes that batches are padded to, so that a device runs few shapes, each of them known.

On a GPU the choice of a convolution, the memory arena and captured graphs all depend on the shape
of the batch. With a fixed list of sizes, all shapes are run while the model loads.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a batch that run together."""

    start: int
    rows: int
    size: int
    """The size that they are padded to: `rows` or more."""

    @property
    def span(self) -> slice:
        """The rows' place in the batch."""
        return slice(self.start, self.start + self.rows)


@dataclasses.dataclass(frozen=True, slots=True)
class BatchSizes:
    """The sizes, ascending."""

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuses sizes that do not ascend from 1 or more."""
        if not self.sizes or sorted({*self.sizes, 0}) != [0, *self.sizes]:
            raise ValueError(f"expected sizes that ascend from 1 or more, got {self.sizes}")

    @classmethod
    def doubling(cls, largest: int) -> BatchSizes:
        """1, 2, 4, ... and at last `largest` itself: at most half of a run is padding."""
        powers = (1 << exponent for exponent in range(largest.bit_length()))
        return cls((*(power for power in powers if power < largest), largest))

    @property
    def largest(self) -> int:
        """The most rows of one run."""
        return self.sizes[-1]

    def padded(self, rows: int) -> int:
        """The size that rows are padded to: 1 <= rows <= largest."""
        return self.sizes[bisect.bisect_left(self.sizes, rows)]

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Cuts a batch of any size into runs: full ones, and a padded one for the rest."""
        for start in range(0, rows, self.largest):
            count = min(self.largest, rows - start)
            yield Chunk(start, count, self.padded(count))
