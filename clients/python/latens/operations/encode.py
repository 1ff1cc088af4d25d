"""Encode: images to the parameters of their approximate posterior, or to codes."""

from __future__ import annotations

from numpy.typing import ArrayLike

from latens import arguments, calls
from latens.calls import Call
from latens.chunks import BatchReply, BatchSpec, ModelRef
from latens.errors import NotOfferedError
from latens.labels import Labels, label_rows
from latens.models import Model
from latens.operations.operation import Operation
from latens.picture_rows import PictureArgument
from latens.results import Codes, Encoding
from latens.v1 import latens_pb2 as pb


class Encode(Operation[Encoding]):
    def __init__(
        self,
        images: ArrayLike | PictureArgument,
        draw: bool,
        seed: int | None,
        labels: Labels | None = None,
    ) -> None:
        self._labels = labels
        self._images = arguments.images("images", images)
        self._seed = arguments.seed(seed) if draw or seed is not None else None

    def spec(self, model: Model) -> BatchSpec:
        if model.has_codes:
            raise NotOfferedError(
                f"model {model.name} encodes to codes, which have no mean: call encode_codes"
            )
        images = arguments.image_rows(self._images, model)
        sizes = model.sizes_of_image("images", images.shape[1:])
        answer = 3 * sizes.latent_bytes  # mean, log_var, draws
        labels = label_rows(self._labels, model, len(images))

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.EncodeRequest(**ref._asdict(), labels=labels[start:stop])
            if self._seed is not None:
                request.draw.seed = self._seed
                request.draw.first_row = start
            return Call(calls.ENCODE, request, {model.data_field: images[start:stop]})

        item_bytes = max(arguments.row_bytes(images), answer)
        return BatchSpec(len(images), item_bytes, call, row_bytes=sizes.row_bytes)

    def result(self, reply: BatchReply) -> Encoding:
        return Encoding(
            mean=reply.array("mean"),
            log_var=reply.find("log_var"),
            latents=reply.find("latents"),
            seed=self._seed,
            version=reply.message.version,
        )


class EncodeCodes(Operation[Codes]):
    def __init__(self, images: ArrayLike | PictureArgument) -> None:
        self._images = arguments.images("images", images)

    def spec(self, model: Model) -> BatchSpec:
        if not model.has_codes:
            raise NotOfferedError(f"model {model.name} has no codebook: call encode")
        images = arguments.image_rows(self._images, model)
        sizes = model.sizes_of_image("images", images.shape[1:])

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.EncodeRequest(**ref._asdict())
            return Call(calls.ENCODE, request, {model.data_field: images[start:stop]})

        item_bytes = max(arguments.row_bytes(images), 2 * sizes.latent_bytes)
        return BatchSpec(len(images), item_bytes, call, row_bytes=sizes.row_bytes)

    def result(self, reply: BatchReply) -> Codes:
        return Codes(reply.array("codes"), reply.message.version)
