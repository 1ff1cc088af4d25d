"""Through the latent space: Sample, Interpolate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens import arguments, exchange, paths
from latens.chunks import Address, Gathered, Pace, Work, in_memory, send
from latens.exchange import Call, Plan
from latens.models import Model
from latens.operations.mapping import Decode
from latens.operations.operation import Kind, Operation
from latens.results import Images, Paths, Samples
from latens.v1 import latens_pb2 as pb

Mode = Literal["linear", "spherical"]

_MODES: dict[str, pb.InterpolationMode] = {
    "linear": pb.INTERPOLATION_MODE_LINEAR,
    "spherical": pb.INTERPOLATION_MODE_SPHERICAL,
}
_WALKS = {"linear": paths.linear_path, "spherical": paths.spherical_path}


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
        return self._work(model, self._steps)

    def _work(self, model: Model, steps: int) -> Work:
        arrays = dict(
            endpoint(name, array, model, self._walk.ends_are) for name, array in self._ends.items()
        )

        def call(address: Address, start: int, stop: int) -> Call:
            request = pb.InterpolateRequest(
                **address._asdict(),
                steps=steps,
                mode=_MODES[self._walk.mode],
                image_dtype=self._code,
            )
            parts = {path: array[start:stop] for path, array in arrays.items()}
            return Call(exchange.INTERPOLATE, request, parts)

        point = arguments.image_bytes(model, self._dtype) + arguments.latent_bytes(model)
        sent = sum(arguments.row_bytes(array) for array in arrays.values())
        return Work(self._paths, max(sent, steps * point), call, rows=steps)

    def result(self, done: Gathered) -> Paths:
        return Paths(done.array("images"), done.array("latents"), done.message.version)

    def plan(self, model: Model, address: Address, pace: Pace) -> Plan[Paths]:
        """A path that no call can carry whole is walked here, and its points are decoded.

        Its ends come from the call itself with two steps: the server judges them, and encodes them
        where they are images.
        """
        work = self.work(model)
        if pace.can_carry_an_item(work):
            return self.result((yield from send(work, address, pace)))
        ends = yield from send(self._work(model, 2), address, pace._replace(progress=None))
        starts, stops = ends.array("latents").swapaxes(0, 1)
        with in_memory():
            path = _WALKS[self._walk.mode](starts, stops, self._steps)
        pinned = address._replace(version=ends.message.version)
        images = yield from decoded(path, self._dtype, model, pinned, pace)
        return Paths(images, path, pinned.version)


def decoded(
    points: NDArray[np.float32], image_dtype: DTypeLike, model: Model, address: Address, pace: Pace
) -> Plan[Images]:
    """The images of points `[..., *latent_shape]`, in as many calls as they need."""
    points.flags.writeable = False  # like all that is returned
    decode = Decode(points.reshape(-1, *model.latent_shape), None, image_dtype)
    done = yield from decode.plan(model, address, pace)
    around = points.shape[: points.ndim - len(model.latent_shape)]
    return done.images.reshape(*around, *done.images.shape[1:])
