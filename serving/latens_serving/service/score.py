"""Score: how probable the model finds images, as an importance-weighted bound of log p(x).

Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders" (2016), equation 8, with latents
drawn from a widened posterior (`likelihood.proposal_scale`). An anomaly score: an image unlike the
training set has a bound far below that of the training set.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.bundle import likelihood
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError
from latens_serving.models.model import LoadedModel, PosteriorRows
from latens_serving.service import validation
from latens_serving.service.arguments import check_passes, check_repeats, seed_of
from latens_serving.service.noise import Stream, standard_normal

Floats = NDArray[np.float32]

MOST_SAMPLES = 100_000
# Latents per decoder run: enough to keep the engine busy, few enough to let others in between.
_ROWS_AT_A_TIME = 1024


async def score(
    request: pb.ScoreRequest, model: LoadedModel, call: CallContext
) -> pb.ScoreResponse:
    """Draws, decodes and weighs k latents per image."""
    images = validation.images_of(request.images, "images", model)
    samples = check_repeats(request.samples, MOST_SAMPLES, "samples")
    check_passes(len(images), samples, "samples", model)
    call.rows = len(images) * samples
    posterior = await model.encode(images, call.deadline)
    if posterior.log_var is None:
        raise InvalidInputError.at("model", "its posterior is a point: it gives no probability")
    seed = seed_of(request)
    together = max(1, _ROWS_AT_A_TIME // samples)
    blocks = [
        await _log_weights(
            images[start : start + together],
            PosteriorRows(
                posterior.mean[start : start + together],
                posterior.log_var[start : start + together],
            ),
            _noise(request, seed, start, min(together, len(images) - start), model),
            model,
            call,
        )
        for start in range(0, len(images), together)
    ]
    found = likelihood.importance_bound(np.concatenate(blocks))
    response = pb.ScoreResponse(
        bound=to_message(found.bound.astype(np.float32)),
        effective_samples=to_message(found.effective_samples.astype(np.float32)),
        seed=seed,
        version=model.version,
    )
    if samples > 1:
        response.standard_error.CopyFrom(to_message(found.standard_error.astype(np.float32)))
    return response


def _noise(
    request: pb.ScoreRequest, seed: int, start: int, rows: int, model: LoadedModel
) -> Floats:
    """Noise `[rows, k, size]` of the images from number `start` on."""
    size = math.prod(model.contract.latent_shape)
    first = request.first_row + start
    noise = standard_normal(seed, Stream.SCORE, first, rows, request.samples * size)
    return noise.reshape(rows, request.samples, size)


async def _log_weights(
    images: Floats, posterior: PosteriorRows, noise: Floats, model: LoadedModel, call: CallContext
) -> NDArray[np.float64]:
    """The logarithm of p(x, z) over the density of z, `[n, k]` nats, of some images."""
    assert posterior.log_var is not None
    mean, log_var = (
        part.reshape(len(images), 1, -1) for part in (posterior.mean, posterior.log_var)
    )
    scale = likelihood.proposal_scale(log_var)
    latents = mean + scale * noise
    weights = likelihood.log_prior_to_proposal(latents, noise, scale).astype(np.float64)
    width = max(1, _ROWS_AT_A_TIME // len(images))
    for start in range(0, noise.shape[1], width):
        part = latents[:, start : start + width]
        rows = part.reshape(-1, *model.contract.latent_shape)
        decoded = await model.decode(rows, call.deadline)
        shaped = decoded.reshape(*part.shape[:2], *decoded.shape[1:])
        weights[:, start : start + width] -= likelihood.reconstruction_error(
            images[:, None], shaped, model.contract
        )
    return weights
