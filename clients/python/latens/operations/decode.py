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
        answer = arguments.image_bytes(model, self._dtype)
        if self._shifts:
            answer += arguments.latent_bytes(model)
        sent = arguments.row_bytes(self._latents)
        return BatchSpec(len(self._latents), max(sent, answer), self._call)

    def _call(self, ref: ModelRef, start: int, stop: int) -> Call:
        request = pb.DecodeRequest(**ref._asdict(), image_dtype=self._code, attributes=self._shifts)
        return Call(calls.DECODE, request, {"latents": self._latents[start:stop]})

    def result(self, reply: BatchReply) -> Decoding:
        return Decoding(reply.array("images"), reply.find("latents"), reply.message.version)
