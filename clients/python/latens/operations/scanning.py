"""Lines through the latent space, each along one coordinate or attribute: Traverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens import arguments, exchange, models, paths
from latens.chunks import Address, Gathered, Pace, Work, in_memory, send
from latens.exchange import Call, Plan
from latens.models import Model
from latens.operations.operation import Kind, Operation
from latens.operations.walking import decoded, endpoint
from latens.results import Traversal
from latens.v1 import latens_pb2 as pb

Axis = int | str
"""A latent coordinate by number, or an attribute by name."""


@dataclass(frozen=True)
class Scan:
    """Where a traversal goes."""

    axes: Sequence[Axis]
    """Empty for every coordinate in order."""
    start: float
    stop: float
    steps: int
    bases_are: Kind | None


class Traverse(Operation[Traversal]):
    def __init__(self, bases: ArrayLike | None, scan: Scan, image_dtype: DTypeLike) -> None:
        self._bases = None if bases is None else np.asarray(bases)
        self._scan = scan
        arguments.positive("steps", scan.steps)
        self._dtype, self._code = arguments.image_dtype(image_dtype)
        self._axes = [_axis(axis) for axis in scan.axes]

    def work(self, model: Model) -> Work:
        return self._work(model, self._scan)

    def _work(self, model: Model, scan: Scan) -> Work:
        arrays = {}
        if self._bases is not None:
            path, array = endpoint("bases", self._bases, model, scan.bases_are)
            arrays[path] = array

        def call(address: Address, start: int, stop: int) -> Call:
            request = pb.TraverseRequest(
                **address._asdict(),
                axes=self._axes,
                start=scan.start,
                stop=scan.stop,
                steps=scan.steps,
                image_dtype=self._code,
            )
            parts = {path: array[start:stop] for path, array in arrays.items()}
            return Call(exchange.TRAVERSE, request, parts)

        rows = scan.steps * (len(self._axes) or model.latent_size)
        point = arguments.image_bytes(model, self._dtype) + arguments.latent_bytes(model)
        sent = sum(arguments.row_bytes(array) for array in arrays.values())
        items = next((len(array) for array in arrays.values()), 1)
        return Work(items, max(sent, rows * point), call, rows=rows)

    def result(self, done: Gathered) -> Traversal:
        return Traversal(
            images=done.array("images"),
            latents=done.array("latents"),
            axes=_names(done),
            version=done.message.version,
        )

    def plan(self, model: Model, address: Address, pace: Pace) -> Plan[Traversal]:
        """Lines that no call can carry whole are drawn here, and their points are decoded.

        Each line's origin comes from the call itself, with the value 0 twice: the server judges
        bases and axes, and encodes the bases where they are images.
        """
        work = self.work(model)
        if pace.can_carry_an_item(work):
            return self.result((yield from send(work, address, pace)))
        values = self._values()
        short = replace(self._scan, start=0.0, stop=0.0, steps=2)
        done = yield from send(self._work(model, short), address, pace._replace(progress=None))
        origins, axes = done.array("latents")[:, :, 0], _names(done)
        pinned = address._replace(version=done.message.version)
        if model.version != pinned.version:  # of which the directions may be others
            model = yield from _described(pinned)
        with in_memory():
            drawn = [_line(origins[:, at], axis, values, model) for at, axis in enumerate(axes)]
            lines = np.stack(drawn, axis=1)
        images = yield from decoded(lines, self._dtype, model, pinned, pace)
        return Traversal(images, lines, axes, pinned.version)

    def _values(self) -> NDArray[np.float32]:
        scan = self._scan
        for name, value in (("start", scan.start), ("stop", scan.stop)):
            if not math.isfinite(value):
                raise arguments.invalid(name, f"expected a finite value, got {value}")
        if scan.steps < 2:
            raise arguments.invalid("steps", f"expected 2 or more, got {scan.steps}")
        with in_memory():
            return paths.values_between(scan.start, scan.stop, scan.steps)


def _described(address: Address) -> Plan[Model]:
    request = pb.GetModelRequest(**address._asdict())
    answer = yield from exchange.ask(Call(exchange.GET_MODEL, request))
    return models.from_message(answer.message.model)


def _line(
    origins: NDArray[np.float32], axis: Axis, values: NDArray[np.float32], model: Model
) -> NDArray[np.float32]:
    """The lines `[n, steps, *latent_shape]` along one axis."""
    if isinstance(axis, int):
        return paths.along_coordinate(axis, origins, values)
    direction = np.array(model.attributes[axis]).reshape(model.latent_shape)
    return paths.along_direction(direction, origins, values)


def _names(done: Gathered) -> tuple[Axis, ...]:
    """The axes that the server followed."""
    return tuple(
        getattr(axis, axis.WhichOneof("direction") or "coordinate") for axis in done.message.axes
    )


def _axis(axis: Axis) -> pb.TraversalAxis:
    if isinstance(axis, str):
        return pb.TraversalAxis(attribute=axis)
    if not 0 <= axis < 2**63:
        raise arguments.invalid("axes", f"expected coordinates from 0 up, got {axis}")
    return pb.TraversalAxis(coordinate=axis)
