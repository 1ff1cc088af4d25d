"""What the model makes of images: Inpaint, Score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from latens import arguments, exchange
from latens.chunks import Address, Gathered, Work
from latens.exchange import Call
from latens.models import Model
from latens.operations.operation import Operation
from latens.results import Inpainting, Scores
from latens.v1 import latens_pb2 as pb


@dataclass(frozen=True)
class Chain:
    """How long the Markov chain of an inpainting is, and what is kept of it."""

    iterations: int
    average: int
    seed: int | None


class Inpaint(Operation[Inpainting]):
    def __init__(
        self, images: ArrayLike, masks: ArrayLike, chain: Chain, image_dtype: DTypeLike
    ) -> None:
        self._images = arguments.images("images", images)
        self._masks = arguments.masks("masks", masks)
        self._iterations = arguments.positive("iterations", chain.iterations)
        self._average = arguments.positive("average", chain.average)
        self._seed = arguments.seed(chain.seed)
        self._dtype, self._code = arguments.image_dtype(image_dtype)

    def work(self, model: Model) -> Work:
        images = arguments.with_channel(self._images, model)
        masks = _masks_for(images, self._masks)

        def call(address: Address, start: int, stop: int) -> Call:
            request = pb.InpaintRequest(
                **address._asdict(),
                iterations=self._iterations,
                average=self._average,
                seed=self._seed,
                first_row=start,
                image_dtype=self._code,
            )
            parts = {"images": images[start:stop], "masks": masks[start:stop]}
            return Call(exchange.INPAINT, request, parts)

        sent = arguments.row_bytes(images) + arguments.row_bytes(masks)
        answer = arguments.image_bytes(model, self._dtype) + arguments.latent_bytes(model)
        return Work(len(images), max(sent, answer), call, passes=self._iterations)

    def result(self, done: Gathered) -> Inpainting:
        return Inpainting(
            done.array("images"), done.array("latents"), self._seed, done.message.version
        )


def _masks_for(images: NDArray[Any], masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask an image, with a channel axis: one mask `[height, width]` stands for all."""
    if masks.ndim == 2:
        return np.broadcast_to(masks, (len(images), 1, *masks.shape))
    if masks.ndim == 3 and len(masks) == len(images):
        masks = masks[:, np.newaxis]
    if len(masks) != len(images):
        raise arguments.invalid("masks", f"expected {len(images)} rows, got {len(masks)}")
    return masks


class Score(Operation[Scores]):
    def __init__(self, images: ArrayLike, samples: int, seed: int | None) -> None:
        self._images = arguments.images("images", images)
        self._samples = arguments.positive("samples", samples)
        self._seed = arguments.seed(seed)

    def work(self, model: Model) -> Work:
        images = arguments.with_channel(self._images, model)

        def call(address: Address, start: int, stop: int) -> Call:
            request = pb.ScoreRequest(
                **address._asdict(), samples=self._samples, seed=self._seed, first_row=start
            )
            return Call(exchange.SCORE, request, {"images": images[start:stop]})

        return Work(len(images), arguments.row_bytes(images), call, passes=self._samples)

    def result(self, done: Gathered) -> Scores:
        return Scores(
            bound=done.array("bound"),
            standard_error=done.find("standard_error"),
            effective_samples=done.array("effective_samples"),
            seed=self._seed,
            version=done.message.version,
        )
