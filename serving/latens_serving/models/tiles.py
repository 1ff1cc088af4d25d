"""Rows that are too large for one pass, computed in tiles.

Where a network is local, an output depends on the inputs within a halo alone. Tiles that are read
with their halo then give the values of the whole. Where it is not (a norm over the image, an
attention), tiles differ from the whole; neighbours overlap, and are blended linearly.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from latens_serving.bundle.spec import ModelSpec, Tiles
from latens_serving.errors import TooLargeError

Outputs = tuple[NDArray[Any], ...]
Run = Callable[[NDArray[Any]], Awaitable[Outputs]]

_ANY = 1 << 62

OVERLAP = 8
"""Steps of the axis's multiple that blended tiles are read beyond their edges."""


class Span(NamedTuple):
    """One tile along one axis, in data elements."""

    read_from: int
    start: int
    """Where the tile's own part begins."""
    stop: int
    read_to: int


class TileLimits(NamedTuple):
    """What an operator allows."""

    bytes: int
    """Of the activations of one pass; 0 for no limit."""
    approximate: bool
    """Whether networks that are not local may be computed in tiles."""


def batch_elements(spec: ModelSpec, graph: str, limits: TileLimits) -> int:
    """The elements of a graph's input whose activations fit into the limit, at least 1.

    A batcher runs one row at least, so rows that exceed the limit must have been divided before.

    Args:
        spec: of the model.
        graph: `encoder`, `decoder` or another form of one of them.
        limits: see `TileLimits`.
    """
    encodes = graph.startswith("encoder")
    data, latent = math.prod(spec.usual_data_shape), math.prod(spec.usual_latent_shape)
    if not limits.bytes or spec.activation_bytes is None:
        return _ANY
    rows = limits.bytes / (spec.activation_bytes[not encodes] * data)
    return max(1, int(rows * (data if encodes else latent)))


NO_LIMIT = TileLimits(0, approximate=False)


class Tiler:
    """Divides the rows of one graph of one model."""

    def __init__(self, spec: ModelSpec, graph: str, limits: TileLimits) -> None:
        """Takes what is known of a graph.

        Args:
            spec: of the model.
            graph: `encoder` or `decoder`.
            limits: see `TileLimits`.
        """
        self._spec = spec
        self._encodes = graph == "encoder"
        self._limits = limits
        known = spec.activation_bytes
        self._element_bytes = known[not self._encodes] if known and limits.bytes else 0.0

    @property
    def is_bounded(self) -> bool:
        """Whether passes have a limit that can be told."""
        return self._element_bytes > 0

    def is_needed(self, data_shape: Sequence[int]) -> bool:
        """Whether the pass of a row would exceed the limit."""
        return math.prod(data_shape) * self._element_bytes > self._limits.bytes

    async def run(self, rows: NDArray[Any], run: Run) -> Outputs:
        """Computes rows in tiles, one after the other.

        Args:
            rows: `[n, ...]`: data for an encoder, latents for a decoder.
            run: computes rows of a size that is allowed.

        Raises:
            TooLargeError: the network is not local and that is not accepted, or not even one tile
                fits.
        """
        data_shape = self._data_shape(rows.shape[1:])
        plans = self._plans(data_shape)
        joined = _Joined(self._spec, data_shape, self._encodes, self._spec.tiles is Tiles.EXACT)
        for spans in itertools.product(*plans):
            part = rows[(slice(None), *self._slices(spans))]
            outputs = await run(await asyncio.to_thread(np.ascontiguousarray, part))
            await asyncio.to_thread(joined.add, spans, outputs)
        return await asyncio.to_thread(joined.whole)

    def _data_shape(self, row: Sequence[int]) -> tuple[int, ...]:
        return tuple(row) if self._encodes else self._spec.data_shape_of(row)

    def _plans(self, data_shape: Sequence[int]) -> list[list[Span]]:
        """The tiles along each axis of the data; an axis of fixed size has one."""
        spec = self._spec
        needed = math.prod(data_shape) * self._element_bytes
        field = spec.data_field if self._encodes else spec.latent_field
        said = f"one pass needs {needed / 2**20:.0f} MiB, --tile-memory allows "
        said += f"{self._limits.bytes / 2**20:.0f} MiB"
        if spec.tiles is Tiles.NONE:
            raise TooLargeError.at(field, f"{said}, and the model cannot be computed in tiles")
        if spec.tiles is Tiles.APPROXIMATE and not self._limits.approximate:
            raise TooLargeError.at(
                field,
                f"{said}; in tiles the values would differ, since the network looks at all of it: "
                "the server accepts that with --tile-approximate",
            )
        plans = self._fitting(data_shape)
        if plans is None:
            raise TooLargeError.at(field, f"{said}, not enough for one tile with its margin")
        return plans

    def _fitting(self, data_shape: Sequence[int]) -> list[list[Span]] | None:
        """The fewest tiles that fit: the axis with the longest tiles is divided next.

        None if tiles of the least size that the model takes do not fit.
        """
        axes = self._spec.data_axes
        counts = [1] * len(axes)
        while True:
            plans = [
                _spans(size, count, axis.multiple, self._beyond(axis.multiple))
                for axis, size, count in zip(axes, data_shape, counts, strict=True)
            ]
            largest = math.prod(max(one.read_to - one.read_from for one in plan) for plan in plans)
            if largest * self._element_bytes <= self._limits.bytes:
                return plans
            lengths = {
                place: max(one.stop - one.start for one in plan)
                for place, (axis, plan) in enumerate(zip(axes, plans, strict=True))
                if axis.is_free and counts[place] < data_shape[place] // axis.minimum
            }
            if not lengths:
                return None
            counts[max(lengths, key=lengths.__getitem__)] += 1

    def _beyond(self, multiple: int) -> int:
        """How far a tile is read beyond its edges."""
        if self._spec.tiles is Tiles.EXACT:
            return math.ceil(self._spec.halo / multiple) * multiple
        return OVERLAP * multiple

    def _slices(self, spans: Sequence[Span]) -> tuple[slice, ...]:
        """Where a tile is read, in data or in latents."""
        ranges = [(span.read_from, span.read_to) for span in spans]
        return _slices(self._spec, ranges, latent=not self._encodes)


class _Joined:
    """The outputs of the tiles, joined as they come."""

    def __init__(
        self, spec: ModelSpec, data_shape: Sequence[int], encodes: bool, is_exact: bool
    ) -> None:
        self._spec = spec
        self._is_exact = is_exact
        self._encodes = encodes
        self._shape = spec.latent_shape_of(data_shape) if encodes else tuple(data_shape)
        self._outputs: list[NDArray[Any]] = []
        self._weights = np.zeros(self._shape, np.float32)

    def add(self, spans: Sequence[Span], outputs: Outputs) -> None:
        """Adds the outputs of one tile."""
        if not self._outputs:
            self._outputs = [
                np.zeros((len(output), *self._shape), output.dtype) for output in outputs
            ]
        if self._is_exact:
            self._copy(spans, outputs)
        else:
            self._blend(spans, outputs)

    def whole(self) -> Outputs:
        """The outputs for the whole rows."""
        if not self._is_exact:
            for output in self._outputs:
                output /= self._weights
        return tuple(self._outputs)

    def _copy(self, spans: Sequence[Span], outputs: Outputs) -> None:
        """Takes a tile's own part."""
        own = self._places([(span.start, span.stop) for span in spans])
        inside = self._places(
            [(span.start - span.read_from, span.stop - span.read_from) for span in spans]
        )
        for whole, output in zip(self._outputs, outputs, strict=True):
            whole[(slice(None), *own)] = output[(slice(None), *inside)]

    def _blend(self, spans: Sequence[Span], outputs: Outputs) -> None:
        """Adds all of a tile, with weights that fall linearly to its edges."""
        place = self._places([(span.read_from, span.read_to) for span in spans])
        edges = self._places([(span.start, span.stop) for span in spans])
        weights = np.ones((), np.float32)
        for axis, (read, own) in enumerate(zip(place, edges, strict=True)):
            ramp = _ramp(read, own, self._shape[axis])
            weights = weights * ramp.reshape([-1, *[1] * (len(place) - axis - 1)])
        self._weights[place] += weights
        for whole, output in zip(self._outputs, outputs, strict=True):
            whole[(slice(None), *place)] += weights * output

    def _places(self, ranges: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
        return _slices(self._spec, ranges, latent=self._encodes)


def _spans(size: int, tiles: int, multiple: int, beyond: int) -> list[Span]:
    """About equal tiles along an axis, at steps of the multiple."""
    steps = size // multiple
    edges = sorted({steps * tile // tiles * multiple for tile in range(tiles)} | {size})
    return [
        Span(max(0, start - beyond), start, stop, min(size, stop + beyond))
        for start, stop in itertools.pairwise(edges)
    ]


def _slices(
    spec: ModelSpec, ranges: Sequence[tuple[int, int]], *, latent: bool
) -> tuple[slice, ...]:
    """Ranges of the data's axes as slices of the data, or of the latents that stand for them."""
    if not latent:
        return tuple(slice(*found) for found in ranges)
    by_name = dict(zip((axis.name for axis in spec.data_axes), ranges, strict=True))
    return tuple(
        slice(*(end // axis.stride for end in by_name[axis.of])) if axis.of else slice(None)
        for axis in spec.latent_axes
    )


def _ramp(read: slice, own: slice, size: int) -> NDArray[np.float32]:
    """Weights along an axis: 1 in the middle, falling to each edge that has a neighbour."""
    read_from, read_to, _ = read.indices(size)
    start, stop, _ = own.indices(size)
    places = np.arange(read_from, read_to) + 0.5
    before, after = start - read_from, read_to - stop
    rising = (places - read_from) / (2 * before) if before else np.ones(len(places))
    falling = (read_to - places) / (2 * after) if after else np.ones(len(places))
    return np.minimum(np.minimum(rising, falling), 1).astype(np.float32)
