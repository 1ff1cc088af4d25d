"""Decode: latents to images."""

from __future__ import annotations

from numpy.typing import ArrayLike, DTypeLike

from latens import arguments, calls
from latens.calls import Call
from latens.chunks import BatchReply, BatchSpec, ModelRef
from latens.models import Model
from latens.operations.operation import Operation, Shifts, shifts_of
from latens.results import Decoding
from latens.v1 import latens_pb2 as pb


class Decode(Operation[Decoding]):
    def __init__(
        self, latents: ArrayLike, attributes: Shifts | None, image_dtype: DTypeLike
    ) -> None:
        self._latents = arguments.latents("latents", latents)
        self._shifts = shifts_of(attributes)
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def spec(self, model: Model) -> BatchSpec:
        sizes = model.sizes_of_latent("latents", self._latents.shape[1:])
        answer = sizes.image_bytes(self._dtype.itemsize)
        if self._shifts:
            answer += sizes.latent_bytes
        sent = arguments.row_bytes(self._latents)
        item_bytes = max(sent, answer)
        return BatchSpec(len(self._latents), item_bytes, self._call, row_bytes=sizes.row_bytes)

    def _call(self, ref: ModelRef, start: int, stop: int) -> Call:
        request = pb.DecodeRequest(**ref._asdict(), image_dtype=self._code, attributes=self._shifts)
        return Call(calls.DECODE, request, {"latents": self._latents[start:stop]})

    def result(self, reply: BatchReply) -> Decoding:
        return Decoding(reply.array("images"), reply.find("latents"), reply.message.version)
