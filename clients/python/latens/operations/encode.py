"""Encode: images to the parameters of their approximate posterior."""

from __future__ import annotations

from numpy.typing import ArrayLike

from latens import arguments, calls
from latens.calls import Call
from latens.chunks import BatchReply, BatchSpec, ModelRef
from latens.models import Model
from latens.operations.operation import Operation
from latens.picture_rows import PictureArgument
from latens.results import Encoding
from latens.v1 import latens_pb2 as pb


class Encode(Operation[Encoding]):
    def __init__(self, images: ArrayLike | PictureArgument, draw: bool, seed: int | None) -> None:
        self._images = arguments.images("images", images)
        self._seed = arguments.seed(seed) if draw or seed is not None else None

    def spec(self, model: Model) -> BatchSpec:
        images = arguments.image_rows(self._images, model)
        sizes = model.sizes_of_image("images", images.shape[1:])
        answer = 3 * sizes.latent_bytes  # mean, log_var, draws

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.EncodeRequest(**ref._asdict())
            if self._seed is not None:
                request.draw.seed = self._seed
                request.draw.first_row = start
            return Call(calls.ENCODE, request, {"images": images[start:stop]})

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
