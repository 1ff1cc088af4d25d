"""Inpaint: the missing pixels of images, filled by a Markov chain.

Rezende, Mohamed and Wierstra, "Stochastic Backpropagation and Approximate Inference in Deep
Generative Models" (2014), appendix F: encode the image, draw a latent from its posterior, decode
it, put the known pixels back, repeat. Where the encoder is close to the true posterior the chain's
missing pixels come to follow p(missing | known). The chain starts from a draw of the prior (of
N(0, I) for a model without one), and the missing pixels take the mean of p(x|z).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latens.tensors import TensorError, to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import Labels, LoadedModel
from latens_serving.models.pixels import as_floats, as_pixels
from latens_serving.service import scalars, validation
from latens_serving.service.arguments import (
    check_passes,
    check_repeats,
    drawn,
    refuse_codes,
    refuse_other_than_images,
    seed_of,
)
from latens_serving.service.labels import labels_of
from latens_serving.service.noise import draw_prior
from latens_serving.service.offload import COPIES, DRAWS, offload

Floats = NDArray[np.float32]

MOST_ITERATIONS = 10_000


@dataclass(frozen=True, slots=True)
class _Chains:
    """The chains of one call, side by side."""

    images: Floats
    """`[n, c, h, w]`; the missing pixels are 0."""
    missing: NDArray[np.bool_]
    """`[n, c, h, w]`."""
    iterations: int
    average: int
    seed: int
    first_row: int
    labels: Labels | None


async def inpaint(
    request: pb.InpaintRequest, model: LoadedModel, call: CallContext
) -> pb.InpaintResponse:
    """Runs the chains of all images together."""
    refuse_other_than_images(model, "Inpaint")
    refuse_codes(model, "Inpaint")
    dtype = scalars.image_dtype_of(request.image_dtype, model)
    size = math.prod(request.images.shape)
    chains = await offload(size > COPIES, _chains_of, request, model)
    call.rows = len(chains.images) * chains.iterations
    images, latents = await _run(chains, model, call)
    return pb.InpaintResponse(
        images=to_message(await offload(size > COPIES, as_pixels, images, dtype)),
        latents=to_message(latents),
        seed=chains.seed,
        version=model.version,
    )


def _chains_of(request: pb.InpaintRequest, model: LoadedModel) -> _Chains:
    images, missing = _pixels_of(request, model)
    iterations = check_repeats(request.iterations, MOST_ITERATIONS, "iterations")
    check_passes(len(images), iterations, "iterations", model)
    if not 0 <= request.average <= iterations:
        raise InvalidInputError.at(
            "average", f"expected 0 to {iterations} (the iterations), got {request.average}"
        )
    return _Chains(
        images=images,
        missing=missing,
        iterations=iterations,
        average=max(request.average, 1),
        seed=seed_of(request),
        first_row=request.first_row,
        labels=labels_of(request.labels, len(images), model),
    )


def _pixels_of(request: pb.InpaintRequest, model: LoadedModel) -> tuple[Floats, NDArray[np.bool_]]:
    """The images, and which of their pixels are missing; the values of those are not looked at."""
    given = validation.shaped_data_of(request.images, "images", model)
    missing = _missing_of(request.masks, given.shape)
    known = np.where(missing, given.dtype.type(0), given)
    return as_floats(validation.check_pixels(known, "images")), missing


def _missing_of(masks: pb.Tensor, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    try:
        array = to_array(masks)
    except TensorError as error:
        raise InvalidInputError.at(f"masks.{error.field}", str(error)) from error
    if array.dtype != np.uint8:
        raise InvalidInputError.at("masks.dtype", "expected UINT8")
    one_channel = (shape[0], 1, *shape[2:])
    if array.shape not in (shape, one_channel):
        raise InvalidInputError.at(
            "masks.shape", f"expected {list(shape)} or {list(one_channel)}, got {list(array.shape)}"
        )
    return np.broadcast_to(array != 0, shape)


async def _run(chains: _Chains, model: LoadedModel, call: CallContext) -> tuple[Floats, Floats]:
    """The filled images and the last latents."""
    rows = len(chains.images)
    shape = model.spec.latent_shape_of(chains.images.shape[1:])
    latents = await offload(
        rows * math.prod(shape) > DRAWS,
        draw_prior,
        shape,
        seed=chains.seed,
        first_row=chains.first_row,
        rows=rows,
        temperature=1.0,
        fitted=model.fitted_prior,
    )
    current = _filled(chains, await model.decode(latents, call.deadline, chains.labels))
    total = np.zeros_like(current)
    for iteration in range(chains.iterations):
        posterior = await model.encode(current, call.deadline, chains.labels)
        latents = await drawn(posterior, chains.seed, chains.first_row, iteration + 1)
        decoded = await model.decode(latents, call.deadline, chains.labels)
        current = await offload(decoded.size > COPIES, _filled, chains, decoded)
        if iteration >= chains.iterations - chains.average:
            total += current
    mean = np.clip(total / np.float32(chains.average), 0, 1)
    return _filled(chains, mean), latents


def _filled(chains: _Chains, decoded: Floats) -> Floats:
    """The images with their missing pixels taken from `decoded`."""
    return np.where(chains.missing, decoded, chains.images)
