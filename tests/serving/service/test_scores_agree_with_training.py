"""Score and Reconstruct give the numbers that the training module gives, in nats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.bundle import likelihood
from latens_serving.bundle.spec import (
    Likelihood,
    ModelSpec,
    Posterior,
    fixed_image_axes,
    fixed_latent_axes,
)
from latens_training import checkpoint
from latens_training.config import LossConfig
from latens_training.data import datasets
from latens_training.likelihoods.registry import build_likelihood
from latens_training.metrics.evaluation import evaluate
from latens_training.metrics.iwae_bound import iwae_bound
from latens_training.objectives import batch as losses
from server_process import Server

IMAGES = datasets.load("mnist").test.images[:24]


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield latens_pb2_grpc.LatentServiceStub(channel)


def scored(stub: Any, rows: slice, **more: Any) -> pb.ScoreResponse:
    request = pb.ScoreRequest(images=to_message(IMAGES[rows].numpy()), seed=7, **more)
    response: pb.ScoreResponse = stub.Score(request, timeout=60)
    return response


def test_the_bound_is_the_training_modules_within_its_standard_error(
    stub: Any, trained_run: Path
) -> None:
    run = checkpoint.load(trained_run)
    terms = evaluate(run.model, IMAGES)
    theirs = iwae_bound(run.model, IMAGES, terms, samples=2000, subset=len(IMAGES))

    ours = scored(stub, slice(None), samples=2000)

    bound, error = to_array(ours.bound), to_array(ours.standard_error)
    assert bound.shape == error.shape == (len(IMAGES),)
    # Both are estimates, of like precision; the mean of n has the error of the root of n.
    combined = np.sqrt(2 * np.square(error).sum()) / len(IMAGES)
    assert abs(bound.mean() - theirs.value) < 4 * combined
    assert combined < 0.1
    assert bound.mean() > -(terms.reconstruction + terms.kl).mean()


def test_the_score_of_a_row_does_not_depend_on_the_split(stub: Any) -> None:
    whole = to_array(scored(stub, slice(None), samples=50).bound)

    parts = [
        to_array(scored(stub, slice(start, start + 7), samples=50, first_row=start).bound)
        for start in range(0, len(IMAGES), 7)
    ]

    assert np.allclose(np.concatenate(parts), whole, atol=1e-3)


def test_noise_scores_far_below_digits(stub: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 1, 28, 28), np.uint8)

    of_noise = stub.Score(pb.ScoreRequest(images=to_message(noise), samples=20), timeout=60)

    digits = to_array(scored(stub, slice(None), samples=20).bound)
    assert to_array(of_noise.bound).max() < digits.min() - 100


def test_the_effective_samples_are_between_one_and_all(stub: Any) -> None:
    effective = to_array(scored(stub, slice(None), samples=50).effective_samples)

    assert effective.shape == (len(IMAGES),)
    assert ((effective > 1) & (effective < 50)).all()


def test_one_sample_has_no_standard_error(stub: Any) -> None:
    response = scored(stub, slice(0, 2), samples=1)

    assert not response.HasField("standard_error")
    assert to_array(response.effective_samples).tolist() == [1, 1]
    assert np.isfinite(to_array(response.bound)).all()


def test_reconstruct_gives_the_terms_of_the_elbo(stub: Any, trained_run: Path) -> None:
    run = checkpoint.load(trained_run)
    floats = IMAGES.float() / 255
    with torch.inference_mode():
        mean, log_var = run.model.encoder(floats)
        logits = run.model.decoder(mean)
        error = run.model.likelihood.negative_log_p(logits, floats)
        divergence = losses.kl(mean, log_var)

    response = stub.Reconstruct(
        pb.ReconstructRequest(images=to_message(IMAGES.numpy())), timeout=30
    )

    assert np.allclose(to_array(response.reconstruction), error.numpy(), rtol=1e-4)
    assert np.allclose(to_array(response.kl), divergence.numpy(), rtol=1e-4, atol=1e-4)
    assert np.allclose(to_array(response.images), torch.sigmoid(logits).numpy(), atol=1e-5)
    assert np.allclose(to_array(response.latents), mean.numpy(), atol=1e-5)


def spec(kind: Likelihood, sigma: float) -> ModelSpec:
    return ModelSpec(
        data_axes=fixed_image_axes((1, 4, 4)),
        latent_axes=fixed_latent_axes((2,)),
        architecture="vae-mlp",
        beta=1,
        dataset="mnist",
        likelihood=kind,
        sigma=sigma,
        posterior=Posterior.DIAGONAL_GAUSSIAN,
        tolerance=1e-4,
        parameter_count=0,
    )


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_both_likelihoods_are_those_of_training(kind: Any) -> None:
    draw = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(3, 1, 4, 4, generator=draw)
    targets = torch.rand(3, 1, 4, 4, generator=draw)
    theirs = build_likelihood(LossConfig(likelihood=kind, sigma=0.3)).negative_log_p(
        logits, targets
    )

    ours: NDArray[np.float32] = likelihood.reconstruction_error(
        targets.numpy(), torch.sigmoid(logits).numpy(), spec(Likelihood(kind), 0.3)
    )

    assert np.allclose(ours, theirs.numpy(), rtol=1e-4)


def test_a_certain_and_wrong_decoder_has_a_finite_error() -> None:
    images, sure = np.zeros((1, 1, 4, 4), np.float32), np.ones((1, 1, 4, 4), np.float32)

    error = likelihood.reconstruction_error(images, sure, spec(Likelihood.BERNOULLI, 1))

    assert np.isfinite(error).all()
    assert error[0] > 16 * 15
