"""Traverse: lines through the latent space, each along one coordinate or attribute."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens import arguments, calls, models, paths
from latens.calls import Call, Plan
from latens.chunks import BatchReply, BatchSpec, CallBudget, ModelRef, in_memory, send
from latens.errors import invalid
from latens.labels import Labels, label_rows, labels_of_points
from latens.models import Model
from latens.operations.endpoints import Kind, decoded, endpoint, kind, sizes_of
from latens.operations.operation import Operation
from latens.picture_rows import PictureArgument
from latens.results import Traversal
from latens.v1 import latens_pb2 as pb

Axis = int | str
"""A latent coordinate by number, or an attribute by name."""


@dataclass(frozen=True)
class Scan:
    """The lines of a traversal."""

    axes: Sequence[Axis]
    """Empty for every coordinate in order."""
    start: float
    stop: float
    steps: int
    bases_are: Kind | None


class Traverse(Operation[Traversal]):
    def __init__(
        self,
        bases: ArrayLike | PictureArgument | None,
        scan: Scan,
        image_dtype: DTypeLike,
        labels: Labels | None = None,
    ) -> None:
        self._labels = labels
        self._bases = None if bases is None else arguments.points("bases", bases)
        self._kind = kind("bases_are", scan.bases_are)
        self._scan = replace(
            scan,
            start=arguments.number("start", scan.start),
            stop=arguments.number("stop", scan.stop),
            steps=arguments.positive("steps", scan.steps),
        )
        self._dtype, self._code = arguments.image_dtype(image_dtype)
        self._axes = [_axis(axis) for axis in scan.axes]

    def spec(self, model: Model) -> BatchSpec:
        return self._spec(model, self._scan)

    def _spec(self, model: Model, scan: Scan) -> BatchSpec:
        arrays = {}
        if self._bases is not None:
            path, array = endpoint("bases", self._bases, model, self._kind)
            arrays[path] = array

        items = next((len(array) for array in arrays.values()), 1)
        labels = label_rows(self._labels, model, items)

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.TraverseRequest(
                **ref._asdict(),
                axes=self._axes,
                start=scan.start,
                stop=scan.stop,
                steps=scan.steps,
                image_dtype=self._code,
                labels=labels[start:stop],
            )
            parts = {path: array[start:stop] for path, array in arrays.items()}
            return Call(calls.TRAVERSE, request, parts)

        found = [sizes_of(path, array, model) for path, array in arrays.items()]
        sizes = found[0] if found else model.usual_sizes
        rows = scan.steps * (len(self._axes) or math.prod(sizes.latent))
        point = sizes.image_bytes(self._dtype.itemsize) + sizes.latent_bytes
        sent = sum(arguments.row_bytes(array) for array in arrays.values())
        item_bytes = max(sent, rows * point)
        return BatchSpec(items, item_bytes, call, rows=rows, row_bytes=sizes.row_bytes)

    def result(self, reply: BatchReply) -> Traversal:
        return Traversal(
            images=reply.data(),
            latents=reply.array("latents"),
            axes=_axes_in(reply),
            version=reply.message.version,
        )

    def plan(self, model: Model, ref: ModelRef, budget: CallBudget) -> Plan[Traversal]:
        """Sends the bases; lines that no call can carry are computed here and then decoded.

        Each line's origin comes from a call with the value 0 twice: the server checks bases and
        axes, and encodes images.
        """
        spec = self.spec(model)
        if budget.can_carry_an_item(spec):
            return self.result((yield from send(spec, ref, budget)))
        values = self._values()
        short = replace(self._scan, start=0.0, stop=0.0, steps=2)
        reply = yield from send(self._spec(model, short), ref, budget._replace(progress=None))
        origins, axes = reply.array("latents")[:, :, 0], _axes_in(reply)
        pinned = ref._replace(version=reply.message.version)
        if model.version != pinned.version:  # whose attributes may have other directions
            model = yield from _described(pinned)
        with in_memory():
            drawn = [_line(origins[:, at], axis, values, model) for at, axis in enumerate(axes)]
            lines = np.stack(drawn, axis=1)
        points = lines.shape[1] * lines.shape[2]
        classes = labels_of_points(label_rows(self._labels, model, len(lines)), points)
        images = yield from decoded(lines, 3, self._dtype, model, pinned, budget, classes)
        return Traversal(images, lines, axes, pinned.version)

    def _values(self) -> NDArray[np.float32]:
        scan = self._scan
        for name, value in (("start", scan.start), ("stop", scan.stop)):
            if not math.isfinite(value):
                raise invalid(name, f"expected a finite value, got {value}")
        if scan.steps < 2:
            raise invalid("steps", f"expected 2 or more, got {scan.steps}")
        with in_memory():
            return paths.values_between(scan.start, scan.stop, scan.steps)


def _described(ref: ModelRef) -> Plan[Model]:
    request = pb.GetModelRequest(**ref._asdict())
    answer = yield from calls.ask(Call(calls.GET_MODEL, request))
    return models.from_message(answer.message.model)


def _line(
    origins: NDArray[np.float32], axis: Axis, values: NDArray[np.float32], model: Model
) -> NDArray[np.float32]:
    """The lines `[n, steps, *latent_shape]` along one axis."""
    if isinstance(axis, int):
        return paths.along_coordinate(axis, origins, values)
    direction = np.array(model.attributes[axis]).reshape(model.latent_shape)
    return paths.along_direction(direction, origins, values)


def _axes_in(reply: BatchReply) -> tuple[Axis, ...]:
    """The axes that the server followed."""
    return tuple(
        getattr(axis, axis.WhichOneof("direction") or "coordinate") for axis in reply.message.axes
    )


def _axis(axis: Axis) -> pb.TraversalAxis:
    if isinstance(axis, str):
        return pb.TraversalAxis(attribute=axis)
    try:
        coordinate = operator.index(axis)
    except TypeError:
        raise invalid(
            "axes", f"expected coordinate numbers or attribute names, got {axis!r}"
        ) from None
    if not 0 <= coordinate < 2**63:
        raise invalid("axes", f"expected coordinates from 0 up, got {axis}")
    return pb.TraversalAxis(coordinate=coordinate)
