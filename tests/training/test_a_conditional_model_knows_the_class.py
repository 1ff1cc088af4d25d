"""Conditional VAEs: any network with a latent vector learns q(z|x, y) and p(x|z, y)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from labelled_model import NAMES, SIDE, labelled, settings, trained
from latens_export.cli import main as export
from latens_training import Dataset, Split, train
from latens_training.api import Run
from latens_training.checkpoint import load
from latens_training.cli.main import main
from latens_training.errors import DataError
from latens_training.models.build import build


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("conditional") / "run")


def lit(images: torch.Tensor) -> torch.Tensor:
    """Which halves of images are lit: 0 left, 1 right, 2 both."""
    light = torch.stack([half.sum((1, 2, 3)) for half in images.split(SIDE // 2, 3)])
    left, right = light > 0.4 * light.amax(0)
    return torch.where(left & right, 2, torch.where(right, 1, 0))


def height_of(images: torch.Tensor) -> torch.Tensor:
    """Where the bar is, in rows from the top."""
    rows = images.sum((1, 3))
    return (rows * torch.arange(SIDE)).sum(1) / rows.sum(1)


def test_the_decoder_draws_the_class_it_is_told(run: Run) -> None:
    latents = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(30) % len(NAMES)
    assert torch.equal(lit(run.decode(latents, labels)), labels)


def test_the_latent_keeps_the_style_and_not_the_class(run: Run) -> None:
    test = run.dataset.test
    assert test.labels is not None
    mean, _ = run.encode(test.images, test.labels)
    other = (test.labels + 1) % len(NAMES)
    swapped = run.decode(mean, other)
    assert torch.equal(lit(swapped), other)
    together = torch.stack([height_of(test.images.float()), height_of(swapped)])
    assert float(torch.corrcoef(together)[0, 1]) > 0.9


def test_it_is_better_than_the_same_network_without_classes(run: Run, tmp_path: Path) -> None:
    blind = trained(tmp_path / "blind", conditional=False)
    known, unknown = run.evaluate(bound_samples=50), blind.evaluate(bound_samples=50)
    # What the class says, two coordinates need not tell: -4 against -11 nats.
    assert known["iwae_bound"] > unknown["iwae_bound"] + 2


def test_a_saved_run_is_the_same_model(run: Run) -> None:
    again = load(run.path)
    assert again.record.label_count == len(NAMES)
    latents, labels = torch.zeros(3, 2), torch.arange(3)
    assert torch.equal(again.model.images(latents, labels), run.decode(latents, labels))


def test_a_resumed_run_has_the_same_weights(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", epochs=3)
    trained(tmp_path / "parts", epochs=1)
    parts = train(settings(3), dataset=labelled(), out=tmp_path / "parts", quiet=True, resume=True)
    state = parts.model.state_dict()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_held_out_images_keep_their_labels(tmp_path: Path) -> None:
    config = settings(4)
    data = config.data.model_copy(update={"validation": 0.2})
    kept = train(
        config.model_copy(update={"data": data}), dataset=labelled(), out=tmp_path, quiet=True
    )
    assert kept.history[-1]["validation_score"] > kept.history[0]["validation_score"]


def test_its_figures_are_drawn(run: Run) -> None:
    drawn = {path.stem for path in run.figures()}
    assert {"reconstructions", "samples", "manifold", "scatter"} <= drawn


@pytest.mark.parametrize("name", ["ae-mlp", "conv"])
def test_any_network_with_a_latent_vector_can_be_conditional(name: str) -> None:
    shape = (3, 32, 32)
    config = settings(architecture=name, latent_size=5).model
    model = build(config, shape, label_count=4)
    images, labels = torch.rand(6, *shape), torch.tensor([0, 1, 2, 3, 0, 1])
    mean, _ = model.encode(images, labels)
    assert mean.shape == (6, 5)
    assert model.decode(mean, labels).shape == (6, *shape)
    changed, _ = model.encode(images, (labels + 1) % 4)
    assert not torch.equal(mean, changed), "the encoder sees the class"


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    images = labelled().train.images
    unlabelled = Dataset("halves", Split(images), Split(images))
    with pytest.raises(DataError, match="needs labels, and there are none"):
        train(settings(1), dataset=unlabelled, out=tmp_path, quiet=True)


def test_labels_beyond_the_classes_are_refused(run: Run) -> None:
    with pytest.raises(DataError, match="knows the classes 0 to 2, got 3 to 3"):
        run.decode(torch.zeros(1, 2), torch.tensor([3]))
    with pytest.raises(DataError, match="needs images with labels"):
        run.encode(labelled().test.images)


@pytest.mark.parametrize("name", ["resnet", "vq-vae"])
def test_networks_without_a_latent_vector_refuse_the_setting(
    name: str, mnist_subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--dataset", "mnist", "--data-dir", str(mnist_subset), "--out", str(tmp_path / "run")]
    assert main(["--model", name, "--conditional", *where]) == 2
    assert "conditional: has no effect here: the latent must be a vector" in capsys.readouterr().err


def test_the_command_line_trains_evaluates_and_exports_one(
    mnist_subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--dataset", "mnist", "--data-dir", str(mnist_subset)]
    out = str(tmp_path / "run")
    assert main(["--conditional", "--epochs", "1", *data, "--out", out]) == 0
    assert main(["evaluate", out, "--bound-samples", "20", "--bound-images", "2"]) == 0
    assert main(["attributes", out]) == 0
    assert main(["figures", out]) == 0
    assert export([out, "--repository", f"{tmp_path}/models", "--name", "digits"]) == 0
    assert (tmp_path / "models" / "digits" / "1" / "bundle.json").is_file()
    capsys.readouterr()


def test_a_bundle_holds_no_more_classes_than_grey_levels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = torch.randint(0, 256, (300, 1, SIDE, SIDE), dtype=torch.uint8)
    np.savez(tmp_path / "many.npz", images=images.numpy(), labels=np.arange(300))
    out = str(tmp_path / "run")
    arguments = ["--dataset", str(tmp_path / "many.npz"), "--epochs", "1", "--no-figures"]
    assert main(["--conditional", *arguments, "--out", out]) == 0
    assert export([out, "--repository", f"{tmp_path}/models", "--name", "many"]) != 0
    assert "256 are served at most" in capsys.readouterr().err
