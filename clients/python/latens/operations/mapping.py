"""Between images and latents: Encode, Decode, Reconstruct."""

from __future__ import annotations

from numpy.typing import ArrayLike, DTypeLike

from latens import arguments, exchange
from latens.chunks import Address, Gathered, Work
from latens.exchange import Call
from latens.models import Model
from latens.operations.operation import Operation, Shifts, shifts_of
from latens.results import Decoding, Encoding, Reconstruction
from latens.v1 import latens_pb2 as pb


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
    def __init__(
        self, latents: ArrayLike, attributes: Shifts | None, image_dtype: DTypeLike
    ) -> None:
        self._latents = arguments.latents("latents", latents)
        self._shifts = shifts_of(attributes)
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def work(self, model: Model) -> Work:
        answer = arguments.image_bytes(model, self._dtype)
        if self._shifts:
            answer += arguments.latent_bytes(model)
        sent = arguments.row_bytes(self._latents)
        return Work(len(self._latents), max(sent, answer), self._call)

    def _call(self, address: Address, start: int, stop: int) -> Call:
        request = pb.DecodeRequest(
            **address._asdict(), image_dtype=self._code, attributes=self._shifts
        )
        return Call(exchange.DECODE, request, {"latents": self._latents[start:stop]})

    def result(self, done: Gathered) -> Decoding:
        return Decoding(done.array("images"), done.find("latents"), done.message.version)


class Reconstruct(Operation[Reconstruction]):
    def __init__(
        self,
        images: ArrayLike,
        draw: bool,
        seed: int | None,
        attributes: Shifts | None,
        image_dtype: DTypeLike,
    ) -> None:
        self._images = arguments.images("images", images)
        self._seed = arguments.seed(seed) if draw or seed is not None else None
        self._shifts = shifts_of(attributes)
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def work(self, model: Model) -> Work:
        images = arguments.with_channel(self._images, model)
        figures = 8  # reconstruction and kl
        answer = arguments.image_bytes(model, self._dtype) + arguments.latent_bytes(model) + figures

        def call(address: Address, start: int, stop: int) -> Call:
            request = pb.ReconstructRequest(
                **address._asdict(), image_dtype=self._code, attributes=self._shifts
            )
            if self._seed is not None:
                request.draw.seed = self._seed
                request.draw.first_row = start
            return Call(exchange.RECONSTRUCT, request, {"images": images[start:stop]})

        return Work(len(images), max(arguments.row_bytes(images), answer), call)

    def result(self, done: Gathered) -> Reconstruction:
        return Reconstruction(
            images=done.array("images"),
            latents=done.array("latents"),
            reconstruction=done.array("reconstruction"),
            kl=done.find("kl"),
            seed=self._seed,
            version=done.message.version,
        )
