"""Score: how probable the model finds images, as an importance-weighted bound of log p(x).

Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders" (2016), equation 8, with latents
drawn from a widened posterior (`likelihood.proposal_scale`). An anomaly score: an image unlike the
training set has a bound far below that of the training set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle import likelihood
from latens_serving.bundle.spec import Likelihood, ModelSpec, Posterior, Prior
from latens_serving.calls.context import CallContext
from latens_serving.errors import NotOfferedError, TooLargeError
from latens_serving.models.model import Labels, LoadedModel
from latens_serving.service import validation
from latens_serving.service.arguments import (
    check_passes,
    check_repeats,
    refuse_other_than_images,
    seed_of,
)
from latens_serving.service.labels import labels_of
from latens_serving.service.noise import Stream, standard_normal
from latens_serving.service.offload import DRAWS, offload

Floats = NDArray[np.float32]
Weights = NDArray[np.float64]

MOST_SAMPLES = 100_000
# Latents per decoder run: enough to keep the engine busy, few enough to let others in between.
_ROWS_AT_A_TIME = 1024
# Elements of the images of such a run, which bound its memory.
_ELEMENTS_AT_A_TIME = 1 << 22
# Elements of the latents drawn for one image.
_MOST_DRAWN = 1 << 27


@dataclass(frozen=True, slots=True)
class _Block:
    """Some images of a call, whose samples are decoded together."""

    images: Floats
    mean: Floats
    log_var: Floats
    seed: int
    first_row: int
    samples: int
    labels: Labels | None


async def score(
    request: pb.ScoreRequest, model: LoadedModel, call: CallContext
) -> pb.ScoreResponse:
    """Draws, decodes and weighs k latents per image."""
    refuse_other_than_images(model, "Score")
    _refuse_without_probability(model)
    images = await validation.checked(validation.floats_of, request.images, "images", model)
    samples = check_repeats(request.samples, MOST_SAMPLES, "samples")
    check_passes(len(images), samples, "samples", model)
    call.rows = len(images) * samples
    labels = labels_of(request.labels, len(images), model)
    posterior = await model.encode(images, call.deadline, labels)
    assert posterior.log_var is not None  # `_refuse_without_probability`
    seed = seed_of(request)
    _check_draws(samples, posterior.mean[0].size)
    together = max(1, _rows_at_a_time(images) // samples)
    weights: list[Weights] = []
    for start in range(0, len(images), together):
        part = slice(start, start + together)
        block = _Block(
            images=images[part],
            mean=posterior.mean[part],
            log_var=posterior.log_var[part],
            seed=seed,
            first_row=request.first_row + start,
            samples=samples,
            labels=None if labels is None else labels[part],
        )
        weights.append(await _log_weights(block, model, call))
    found = likelihood.importance_bound(np.concatenate(weights))
    response = pb.ScoreResponse(
        bound=to_message(found.bound.astype(np.float32)),
        effective_samples=to_message(found.effective_samples.astype(np.float32)),
        seed=seed,
        version=model.version,
    )
    if samples > 1:
        response.standard_error.CopyFrom(to_message(found.standard_error.astype(np.float32)))
    return response


def _refuse_without_probability(model: LoadedModel) -> None:
    spec = model.spec
    if spec.gives_kl:
        return
    missing = [
        what
        for what, is_missing in (
            ("likelihood", spec.likelihood is Likelihood.NONE),
            ("prior N(0, I)", spec.prior is not Prior.STANDARD_NORMAL),
            ("variance of the posterior", spec.posterior is Posterior.DETERMINISTIC),
        )
        if is_missing
    ]
    raise NotOfferedError(
        f"model {model.name} has no {' and no '.join(missing)}, so it gives images no probability; "
        "Reconstruct says how well it repeats them"
    )


def _rows_at_a_time(images: Floats) -> int:
    return max(1, min(_ROWS_AT_A_TIME, _ELEMENTS_AT_A_TIME // math.prod(images.shape[1:])))


def _check_draws(samples: int, size: int) -> None:
    if samples * size > _MOST_DRAWN:
        raise TooLargeError.at(
            "samples", f"expected at most {_MOST_DRAWN // size} at this size, got {samples}"
        )


async def _log_weights(block: _Block, model: LoadedModel, call: CallContext) -> Weights:
    """The logarithm of p(x, z) over the density of z, `[n, k]` nats, of some images."""
    size = block.mean.size * block.samples
    latents, weights = await offload(size > DRAWS, _draw, block)
    width = max(1, _rows_at_a_time(block.images) // len(block.images))
    for start in range(0, block.samples, width):
        part = latents[:, start : start + width]
        rows = part.reshape(-1, *block.mean.shape[1:])
        labels = None if block.labels is None else np.repeat(block.labels, part.shape[1])
        decoded = await model.decode(rows, call.deadline, labels)
        shaped = decoded.reshape(*part.shape[:2], *decoded.shape[1:])
        weights[:, start : start + width] -= await offload(
            shaped.size > DRAWS, _reconstruction_error, block.images, shaped, model.spec
        )
    return weights


def _draw(block: _Block) -> tuple[Floats, Weights]:
    """The latents `[n, k, size]` and the logarithm of p(z) over their density, `[n, k]`."""
    rows = len(block.images)
    mean, log_var = (part.reshape(rows, 1, -1) for part in (block.mean, block.log_var))
    size = mean.shape[2]
    noise = standard_normal(
        block.seed, Stream.SCORE, block.first_row, rows, block.samples * size
    ).reshape(rows, block.samples, size)
    scale = likelihood.proposal_scale(log_var)
    latents = mean + scale * noise
    return latents, likelihood.log_prior_to_proposal(latents, noise, scale).astype(np.float64)


def _reconstruction_error(images: Floats, decoded: Floats, spec: ModelSpec) -> Floats:
    return likelihood.reconstruction_error(images[:, None], decoded, spec)
