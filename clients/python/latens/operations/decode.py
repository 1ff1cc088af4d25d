"""Decode: latents or codes to images."""

from __future__ import annotations

from numpy.typing import ArrayLike, DTypeLike

from latens import arguments, calls
from latens.calls import Call
from latens.chunks import BatchReply, BatchSpec, ModelRef
from latens.labels import Labels, label_rows
from latens.models import Model
from latens.operations.operation import Operation, Shifts, shifts_of
from latens.results import Decoding
from latens.v1 import latens_pb2 as pb


class Decode(Operation[Decoding]):
    def __init__(
        self,
        latents: ArrayLike,
        attributes: Shifts | None,
        image_dtype: DTypeLike,
        labels: Labels | None = None,
    ) -> None:
        self._labels = labels
        self._latents = arguments.batch("latents", latents)
        self._shifts = shifts_of(attributes)
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def spec(self, model: Model) -> BatchSpec:
        sizes = model.sizes_of_latent("latents", self._latents.shape[1:])
        if model.has_codes:
            field, latents = "codes", arguments.codes("latents", self._latents)
        else:
            field, latents = "latents", arguments.latents(self._latents)
        answer = sizes.image_bytes(self._dtype.itemsize)
        if self._shifts:
            answer += sizes.latent_bytes

        labels = label_rows(self._labels, model, len(latents))

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.DecodeRequest(
                **ref._asdict(),
                image_dtype=self._code,
                attributes=self._shifts,
                labels=labels[start:stop],
            )
            return Call(calls.DECODE, request, {field: latents[start:stop]})

        item_bytes = max(arguments.row_bytes(latents), answer)
        return BatchSpec(len(latents), item_bytes, call, row_bytes=sizes.row_bytes)

    def result(self, reply: BatchReply) -> Decoding:
        return Decoding(reply.data(), reply.find("latents"), reply.message.version)
