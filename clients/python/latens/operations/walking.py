"""Through the latent space: Sample, Interpolate, Traverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens import arguments, exchange
from latens.chunks import Address, Gathered, Work
from latens.exchange import Call
from latens.models import Model
from latens.operations.operation import Kind, Operation
from latens.results import Paths, Samples, Traversal
from latens.v1 import latens_pb2 as pb

Mode = Literal["linear", "spherical"]
Axis = int | str
"""A latent coordinate by number, or an attribute by name."""

_MODES: dict[str, pb.InterpolationMode] = {
    "linear": pb.INTERPOLATION_MODE_LINEAR,
    "spherical": pb.INTERPOLATION_MODE_SPHERICAL,
}


class Sample(Operation[Samples]):
    def __init__(
        self, count: int, seed: int | None, temperature: float | None, image_dtype: DTypeLike
    ) -> None:
        self._count = arguments.positive("count", count)
        self._seed = arguments.seed(seed)
        self._temperature = temperature
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def work(self, model: Model) -> Work:
        answer = arguments.image_bytes(model, self._dtype) + arguments.latent_bytes(model)
        return Work(self._count, answer, self._call)

    def _call(self, address: Address, start: int, stop: int) -> Call:
        request = pb.SampleRequest(
            **address._asdict(),
            count=stop - start,
            seed=self._seed,
            temperature=self._temperature,
            first_row=start,
            image_dtype=self._code,
        )
        return Call(exchange.SAMPLE, request)

    def result(self, done: Gathered) -> Samples:
        return Samples(
            done.array("images"), done.array("latents"), self._seed, done.message.version
        )


@dataclass(frozen=True)
class Walk:
    """How to go from one end of a path to the other."""

    steps: int
    mode: Mode
    ends_are: Kind | None
    """What the ends are; None to tell by their shape."""


def endpoint(
    name: str, array: NDArray[Any], model: Model, kind: Kind | None
) -> tuple[str, NDArray[Any]]:
    """The path of the field that points of the latent space belong in, and the points.

    Args:
        name: the field of type `Endpoints`.
        array: latents, or images that stand for their posterior's mean.
        model: the model, by whose shapes images and latents are told apart.
        kind: which of them they are, if the caller said.
    """
    shaped = arguments.with_channel(array, model)
    is_images = shaped.dtype == np.uint8 or (
        shaped.shape[1:] == model.image_shape and shaped.shape[1:] != model.latent_shape
    )
    if kind == "images" or (kind is None and is_images):
        return f"{name}.images", arguments.images(name, shaped)
    return f"{name}.latents", arguments.latents(name, array)


class Interpolate(Operation[Paths]):
    def __init__(
        self, starts: ArrayLike, ends: ArrayLike, walk: Walk, image_dtype: DTypeLike
    ) -> None:
        if walk.mode not in _MODES:
            raise arguments.invalid("mode", f"expected {' or '.join(_MODES)}, got {walk.mode!r}")
        self._walk = walk
        self._steps = arguments.positive("steps", walk.steps)
        self._ends = {"starts": np.asarray(starts), "ends": np.asarray(ends)}
        self._dtype, self._code = arguments.image_dtype(image_dtype)
        counts = [len(array) if array.ndim else 0 for array in self._ends.values()]
        if counts[0] != counts[1]:
            raise arguments.invalid(
                "ends", f"expected {counts[0]} rows as in starts, got {counts[1]}"
            )
        self._paths = counts[0]

    def work(self, model: Model) -> Work:
        arrays = dict(
            endpoint(name, array, model, self._walk.ends_are) for name, array in self._ends.items()
        )

        def call(address: Address, start: int, stop: int) -> Call:
            request = pb.InterpolateRequest(
                **address._asdict(),
                steps=self._steps,
                mode=_MODES[self._walk.mode],
                image_dtype=self._code,
            )
            parts = {path: array[start:stop] for path, array in arrays.items()}
            return Call(exchange.INTERPOLATE, request, parts)

        point = arguments.image_bytes(model, self._dtype) + arguments.latent_bytes(model)
        sent = sum(arguments.row_bytes(array) for array in arrays.values())
        return Work(self._paths, max(sent, self._steps * point), call, rows=self._steps)

    def result(self, done: Gathered) -> Paths:
        return Paths(done.array("images"), done.array("latents"), done.message.version)


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
        self._steps = arguments.positive("steps", scan.steps)
        self._dtype, self._code = arguments.image_dtype(image_dtype)
        self._axes = [_axis(axis) for axis in scan.axes]

    def work(self, model: Model) -> Work:
        arrays = {}
        if self._bases is not None:
            path, array = endpoint("bases", self._bases, model, self._scan.bases_are)
            arrays[path] = array

        def call(address: Address, start: int, stop: int) -> Call:
            request = pb.TraverseRequest(
                **address._asdict(),
                axes=self._axes,
                start=self._scan.start,
                stop=self._scan.stop,
                steps=self._steps,
                image_dtype=self._code,
            )
            parts = {path: array[start:stop] for path, array in arrays.items()}
            return Call(exchange.TRAVERSE, request, parts)

        rows = self._steps * (len(self._axes) or model.latent_size)
        point = arguments.image_bytes(model, self._dtype) + arguments.latent_bytes(model)
        sent = sum(arguments.row_bytes(array) for array in arrays.values())
        items = next((len(array) for array in arrays.values()), 1)
        return Work(items, max(sent, rows * point), call, rows=rows)

    def result(self, done: Gathered) -> Traversal:
        return Traversal(
            images=done.array("images"),
            latents=done.array("latents"),
            axes=tuple(
                getattr(axis, axis.WhichOneof("direction") or "coordinate")
                for axis in done.message.axes
            ),
            version=done.message.version,
        )


def _axis(axis: Axis) -> pb.TraversalAxis:
    if isinstance(axis, str):
        return pb.TraversalAxis(attribute=axis)
    if not 0 <= axis < 2**63:
        raise arguments.invalid("axes", f"expected coordinates from 0 up, got {axis}")
    return pb.TraversalAxis(coordinate=axis)
