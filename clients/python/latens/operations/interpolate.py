"""Interpolate: the images along paths between pairs of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike, DTypeLike

from latens import arguments, calls, paths
from latens.calls import Call, Plan
from latens.chunks import BatchReply, BatchSpec, CallBudget, ModelRef, in_memory, send
from latens.errors import invalid
from latens.labels import Labels, label_rows, labels_of_points
from latens.models import Model
from latens.operations.endpoints import Kind, decoded, endpoint, kind, sizes_of
from latens.operations.operation import Operation
from latens.picture_rows import PictureArgument
from latens.results import Paths
from latens.v1 import latens_pb2 as pb

Mode = Literal["linear", "spherical"]

_MODES: dict[str, pb.InterpolationMode] = {
    "linear": pb.INTERPOLATION_MODE_LINEAR,
    "spherical": pb.INTERPOLATION_MODE_SPHERICAL,
}
_PATHS = {"linear": paths.linear_path, "spherical": paths.spherical_path}


@dataclass(frozen=True)
class Walk:
    """How to go from one end of a path to the other."""

    steps: int
    mode: Mode
    ends_are: Kind | None
    """What the ends are; None to tell by their shape."""


class Interpolate(Operation[Paths]):
    def __init__(
        self,
        starts: ArrayLike | PictureArgument,
        ends: ArrayLike | PictureArgument,
        walk: Walk,
        image_dtype: DTypeLike,
        labels: Labels | None = None,
    ) -> None:
        self._labels = labels
        if walk.mode not in _MODES:
            raise invalid("mode", f"expected {' or '.join(_MODES)}, got {walk.mode!r}")
        self._mode = walk.mode
        self._kind = kind("ends_are", walk.ends_are)
        self._steps = arguments.positive("steps", walk.steps)
        self._ends = {
            "starts": arguments.points("starts", starts),
            "ends": arguments.points("ends", ends),
        }
        self._dtype, self._code = arguments.image_dtype(image_dtype)
        self._paths, rows = (len(array) for array in self._ends.values())
        if rows != self._paths:
            raise invalid("ends", f"expected {self._paths} rows as in starts, got {rows}")

    def spec(self, model: Model) -> BatchSpec:
        return self._spec(model, self._steps)

    def _spec(self, model: Model, steps: int) -> BatchSpec:
        arrays = dict(
            endpoint(name, array, model, self._kind) for name, array in self._ends.items()
        )

        labels = label_rows(self._labels, model, self._paths)

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.InterpolateRequest(
                **ref._asdict(),
                steps=steps,
                mode=_MODES[self._mode],
                image_dtype=self._code,
                labels=labels[start:stop],
            )
            parts = {path: array[start:stop] for path, array in arrays.items()}
            return Call(calls.INTERPOLATE, request, parts)

        sizes, _ = (sizes_of(path, rows, model) for path, rows in arrays.items())
        point = sizes.image_bytes(self._dtype.itemsize) + sizes.latent_bytes
        sent = sum(arguments.row_bytes(array) for array in arrays.values())
        item_bytes = max(sent, steps * point)
        return BatchSpec(self._paths, item_bytes, call, rows=steps, row_bytes=sizes.row_bytes)

    def result(self, reply: BatchReply) -> Paths:
        return Paths(reply.data(), reply.array("latents"), reply.message.version)

    def plan(self, model: Model, ref: ModelRef, budget: CallBudget) -> Plan[Paths]:
        """Sends the ends; a path that no call can carry is computed here and then decoded.

        Its ends come from a call with two steps: the server checks them, and encodes images.
        """
        spec = self.spec(model)
        if budget.can_carry_an_item(spec):
            return self.result((yield from send(spec, ref, budget)))
        ends = yield from send(self._spec(model, 2), ref, budget._replace(progress=None))
        starts, stops = ends.array("latents").swapaxes(0, 1)
        with in_memory():
            path = _PATHS[self._mode](starts, stops, self._steps)
        pinned = ref._replace(version=ends.message.version)
        classes = labels_of_points(label_rows(self._labels, model, self._paths), self._steps)
        images = yield from decoded(path, 2, self._dtype, model, pinned, budget, classes)
        return Paths(images, path, pinned.version)
