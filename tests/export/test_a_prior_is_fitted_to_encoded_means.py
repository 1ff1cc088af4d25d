"""A plain autoencoder is sampled from a Gaussian of its encoded training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from latens_export.cli import main
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.prior import FittedPrior, read_prior
from latens_serving.bundle.spec import Prior
from latens_training import checkpoint
from latens_training.runs.data import dataset_of

if TYPE_CHECKING:
    from pathlib import Path


def prior_of(path: Path) -> FittedPrior:
    manifest = read_manifest(path)
    assert manifest.spec.prior is Prior.FITTED_GAUSSIAN
    assert manifest.prior is not None
    return read_prior(verified_bytes(path, manifest.prior), manifest.spec)


def encoded_means(run: Path) -> np.ndarray:
    trained = checkpoint.load(run)
    images = dataset_of(trained, lambda _: None).train.images[:20_000]
    with torch.inference_mode():
        parts = [trained.model.encode(part.float() / 255)[0] for part in images.split(1000)]
    return torch.cat(parts).numpy().astype(np.float64)


def test_a_plain_autoencoder_has_a_fitted_prior(model_repository: Path, point_run: Path) -> None:
    prior = prior_of(model_repository / "point" / "1")
    means = encoded_means(point_run)
    np.testing.assert_allclose(prior.mean, means.mean(0), atol=1e-3)
    assert prior.factor is not None
    covariance = np.cov(means.T).reshape(prior.factor.shape)
    np.testing.assert_allclose(prior.factor @ prior.factor.T, covariance, rtol=1e-2, atol=1e-3)


def test_a_vae_has_one_when_it_is_asked_for(
    model_repository: Path, trained_run: Path, tmp_path: Path
) -> None:
    usual = read_manifest(model_repository / "mnist-2d" / "1")
    assert usual.spec.prior is Prior.STANDARD_NORMAL
    assert usual.prior is None
    repository = ["--repository", str(tmp_path / "models"), "--name", "fitted"]
    assert main(["run", str(trained_run), *repository, "--fit-prior"]) == 0
    prior = prior_of(tmp_path / "models" / "fitted" / "1")
    means = encoded_means(trained_run)
    np.testing.assert_allclose(prior.mean, means.mean(0), atol=1e-3)
