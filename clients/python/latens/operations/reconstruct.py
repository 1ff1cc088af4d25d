"""Reconstruct: images encoded and decoded again, with the terms of the ELBO."""

from __future__ import annotations

from numpy.typing import ArrayLike, DTypeLike

from latens import arguments, calls
from latens.calls import Call
from latens.chunks import BatchReply, BatchSpec, ModelRef
from latens.labels import Labels, label_rows
from latens.models import Model
from latens.operations.operation import Operation, Shifts, shifts_of
from latens.picture_rows import PictureArgument
from latens.results import Reconstruction
from latens.v1 import latens_pb2 as pb


class Reconstruct(Operation[Reconstruction]):
    def __init__(
        self,
        images: ArrayLike | PictureArgument,
        draw: bool,
        seed: int | None,
        attributes: Shifts | None,
        image_dtype: DTypeLike,
        labels: Labels | None = None,
    ) -> None:
        self._labels = labels
        self._images = arguments.images("images", images)
        self._seed = arguments.seed(seed) if draw or seed is not None else None
        self._shifts = shifts_of(attributes)
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def spec(self, model: Model) -> BatchSpec:
        images = arguments.image_rows(self._images, model)
        figures = 8  # reconstruction and kl, float32 each
        sizes = model.sizes_of_image("images", images.shape[1:])
        answer = sizes.image_bytes(self._dtype.itemsize) + 2 * sizes.latent_bytes + figures

        labels = label_rows(self._labels, model, len(images))

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.ReconstructRequest(
                **ref._asdict(),
                image_dtype=self._code,
                attributes=self._shifts,
                labels=labels[start:stop],
            )
            if self._seed is not None:
                request.draw.seed = self._seed
                request.draw.first_row = start
            return Call(calls.RECONSTRUCT, request, {model.data_field: images[start:stop]})

        item_bytes = max(arguments.row_bytes(images), answer)
        return BatchSpec(len(images), item_bytes, call, row_bytes=sizes.row_bytes)

    def result(self, reply: BatchReply) -> Reconstruction:
        codes = reply.find("codes")
        return Reconstruction(
            images=reply.data(),
            latents=reply.array("latents") if codes is None else codes,
            reconstruction=reply.array("reconstruction"),
            kl=reply.find("kl"),
            seed=self._seed,
            version=reply.message.version,
        )
