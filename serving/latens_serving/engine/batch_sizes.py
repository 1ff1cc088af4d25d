"""The sizes that batches are padded to, so that a device meets few shapes, each of them known.

A GPU's convolution search, memory arena and captured graphs are all a batch shape's. With a ladder
of sizes each of them is met while the model loads, and never again.
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
    step: int
    """The size that they are padded to: `rows` or more."""

    @property
    def span(self) -> slice:
        """Where the rows lie in the batch."""
        return slice(self.start, self.start + self.rows)


@dataclasses.dataclass(frozen=True, slots=True)
class BatchLadder:
    """The sizes, ascending."""

    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuses sizes that are not ascending from 1 or more."""
        if not self.steps or sorted({*self.steps, 0}) != [0, *self.steps]:
            raise ValueError(f"steps must ascend from 1 or more: {self.steps}")

    @classmethod
    def doubling(cls, largest: int) -> BatchLadder:
        """1, 2, 4, ... and at last `largest` itself: at most half of a run is padding."""
        powers = (1 << exponent for exponent in range(largest.bit_length()))
        return cls((*(power for power in powers if power < largest), largest))

    @property
    def largest(self) -> int:
        """The most rows of one run."""
        return self.steps[-1]

    def step(self, rows: int) -> int:
        """The size that rows are padded to: 1 <= rows <= largest."""
        return self.steps[bisect.bisect_left(self.steps, rows)]

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Cuts a batch of any size into runs: full ones, and a padded one for what is left."""
        for start in range(0, rows, self.largest):
            count = min(self.largest, rows - start)
            yield Chunk(start, count, self.step(count))
