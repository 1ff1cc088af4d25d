"""A model trained on binary pixels gets its drift reference from binary pixels, not grey ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latens_export.checks.reference import LEVELS
from latens_export.cli import main as export
from latens_serving.bundle.files import read_manifest
from latens_training import checkpoint
from latens_training.cli.main import main as train
from latens_training.data import binarization, datasets

NATS = 2e-3  # graphs in float32 against the network, summed over 784 pixels


@pytest.mark.parametrize("how", ["static", "dynamic"])
def test_a_binarised_models_reference_is_of_binary_pixels(
    mnist_subset: Path, tmp_path: Path, how: str
) -> None:
    run = tmp_path / "run"
    flags = ["--data-dir", str(mnist_subset), "--binarize", how, "--hidden", "32", "--epochs", "2"]
    assert train([*flags, "--learning-rate", "0.01", "--no-figures", "--out", str(run)]) == 0
    assert export([str(run), "--repository", str(tmp_path / "models"), "--name", "binary"]) == 0
    reference = read_manifest(tmp_path / "models" / "binary" / "1").reference
    assert reference is not None
    trained = checkpoint.load(run)
    data = trained.config.data
    grey = datasets.load("mnist", mnist_subset)
    expected = {}
    for name, dataset in (("grey", grey), ("binary", binarization.for_evaluation(grey, data))):
        images = dataset.test.images.float() / 255
        with torch.inference_mode():
            logits = trained.model.decode(trained.model.encode(images)[0])
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, images, reduction="none"
        )
        expected[name] = np.quantile(losses.sum((1, 2, 3)).double().numpy(), LEVELS)
    assert np.abs(expected["grey"] - expected["binary"]).max() > 100 * NATS
    found = list(reference.reconstruction.quantiles.values())
    np.testing.assert_allclose(found, expected["binary"], atol=NATS, rtol=0)
