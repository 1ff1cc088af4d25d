"""Inpaint: images with their missing pixels filled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens import arguments, calls
from latens.calls import Call
from latens.chunks import BatchReply, BatchSpec, ModelRef
from latens.errors import invalid
from latens.labels import Labels, label_rows
from latens.models import Model
from latens.operations.operation import Operation
from latens.picture_rows import PictureArgument
from latens.results import Inpainting
from latens.v1 import latens_pb2 as pb


@dataclass(frozen=True)
class Chain:
    """The length of the Markov chain, and what is kept of it."""

    iterations: int
    average: int
    seed: int | None


class Inpaint(Operation[Inpainting]):
    def __init__(
        self,
        images: ArrayLike | PictureArgument,
        masks: ArrayLike,
        chain: Chain,
        image_dtype: DTypeLike,
        labels: Labels | None = None,
    ) -> None:
        self._labels = labels
        self._images = arguments.images("images", images)
        self._masks = arguments.masks("masks", masks)
        self._iterations = arguments.positive("iterations", chain.iterations)
        self._average = arguments.positive("average", chain.average)
        self._seed = arguments.seed(chain.seed)
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def spec(self, model: Model) -> BatchSpec:
        images = arguments.image_rows(self._images, model)
        masks = _masks_for(images, self._masks)

        labels = label_rows(self._labels, model, len(images))

        def call(ref: ModelRef, start: int, stop: int) -> Call:
            request = pb.InpaintRequest(
                **ref._asdict(),
                iterations=self._iterations,
                average=self._average,
                seed=self._seed,
                first_row=start,
                image_dtype=self._code,
                labels=labels[start:stop],
            )
            parts = {"images": images[start:stop], "masks": masks[start:stop]}
            return Call(calls.INPAINT, request, parts)

        sent = arguments.row_bytes(images) + arguments.row_bytes(masks)
        sizes = model.sizes_of_image("images", images.shape[1:])
        answer = sizes.image_bytes(self._dtype.itemsize) + sizes.latent_bytes
        return BatchSpec(
            items=len(images),
            item_bytes=max(sent, answer),
            call=call,
            passes=self._iterations,
            row_bytes=sizes.row_bytes,
        )

    def result(self, reply: BatchReply) -> Inpainting:
        return Inpainting(
            reply.array("images"), reply.array("latents"), self._seed, reply.message.version
        )


def _masks_for(images: arguments.ImageRows, masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One mask per image, with a channel axis; one mask `[height, width]` stands for all."""
    if masks.ndim == 2:
        return np.broadcast_to(masks, (len(images), 1, *masks.shape))
    if masks.ndim == 3 and len(masks) == len(images):
        masks = masks[:, np.newaxis]
    if len(masks) != len(images):
        raise invalid("masks", f"expected {len(images)} rows, got {len(masks)}")
    return masks
