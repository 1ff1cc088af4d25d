"""The calls that take a batch, one class each: its arguments, its requests, its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens import arguments, exchange
from latens.chunks import Address, Gathered, Work
from latens.exchange import Call
from latens.models import Model
from latens.results import Decoding, Encoding, Paths, Samples
from latens.v1 import latens_pb2 as pb

ResultT = TypeVar("ResultT")
Ends = Literal["latents", "images"]
Mode = Literal["linear", "spherical"]

_MODES: dict[str, pb.InterpolationMode] = {
    "linear": pb.INTERPOLATION_MODE_LINEAR,
    "spherical": pb.INTERPOLATION_MODE_SPHERICAL,
}


class Operation(Generic[ResultT]):
    """A batch to be sent in as many calls as the model's limits need."""

    def work(self, model: Model) -> Work:
        """The batch, measured against a model."""
        raise NotImplementedError

    def result(self, done: Gathered) -> ResultT:
        """What the caller gets from the joined answers."""
        raise NotImplementedError


class Encode(Operation[Encoding]):
    def __init__(self, images: ArrayLike, draw: bool, seed: int | None) -> None:
        self._images = arguments.images("images", images)
        self._seed = arguments.seed(seed) if draw or seed is not None else None

    def work(self, model: Model) -> Work:
        images = arguments.with_channel(self._images, model)
        answer = 3 * arguments.latent_bytes(model)  # mean, log_var, draws

        def call(address: Address, start: int, stop: int) -> Call:
            request = pb.EncodeRequest(**address._asdict())
            if self._seed is not None:
                request.draw.seed = self._seed
                request.draw.first_row = start
            return Call(exchange.ENCODE, request, {"images": images[start:stop]})

        return Work(len(images), max(arguments.row_bytes(images), answer), call)

    def result(self, done: Gathered) -> Encoding:
        return Encoding(
            mean=done.array("mean"),
            log_var=done.find("log_var"),
            latents=done.find("latents"),
            seed=self._seed,
            version=done.message.version,
        )


class Decode(Operation[Decoding]):
    def __init__(self, latents: ArrayLike, image_dtype: DTypeLike) -> None:
        self._latents = arguments.latents("latents", latents)
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def work(self, model: Model) -> Work:
        sent = arguments.row_bytes(self._latents)
        return Work(
            len(self._latents), max(sent, arguments.image_bytes(model, self._dtype)), self._call
        )

    def _call(self, address: Address, start: int, stop: int) -> Call:
        request = pb.DecodeRequest(**address._asdict(), image_dtype=self._code)
        return Call(exchange.DECODE, request, {"latents": self._latents[start:stop]})

    def result(self, done: Gathered) -> Decoding:
        return Decoding(done.array("images"), done.message.version)


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
    ends_are: Ends | None
    """What the ends are; None to tell by their shape."""


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
        arrays = dict(self._endpoint(name, model) for name in self._ends)

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

    def _endpoint(self, name: str, model: Model) -> tuple[str, NDArray[Any]]:
        """The path of the field that one end belongs in, and the end."""
        array = self._ends[name]
        shaped = arguments.with_channel(array, model)
        is_images = shaped.dtype == np.uint8 or (
            shaped.shape[1:] == model.image_shape and shaped.shape[1:] != model.latent_shape
        )
        if self._walk.ends_are == "images" or (self._walk.ends_are is None and is_images):
            return f"{name}.images", arguments.images(name, shaped)
        return f"{name}.latents", arguments.latents(name, array)

    def result(self, done: Gathered) -> Paths:
        return Paths(done.array("images"), done.array("latents"), done.message.version)
