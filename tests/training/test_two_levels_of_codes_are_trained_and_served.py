"""The two-level VQ-VAE: the fine codes follow the coarse ones, and both are served as one array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from latens import Client
from latens_training import Dataset, LossConfig, ModelConfig, RunConfig, Split, TrainConfig, train
from latens_training.api import Run
from latens_training.cli.main import main
from latens_training.models.autoencoder import Autoencoder
from latens_training.models.build import build
from latens_training.models.two_levels import TwoLevelQuantizer
from server_process import running_server

SHAPE = (3, 16, 16)
CODES = 8
PLACES = (2 * 2, 4 * 4)
OPTIONS = {"codebook_size": CODES, "latent_channels": 4, "downsampling": 4, "width": 8}


def config(epochs: int) -> RunConfig:
    return RunConfig(
        model=ModelConfig(architecture="vq-vae-2", model_options=OPTIONS),
        loss=LossConfig(objective="vq"),
        train=TrainConfig(epochs=epochs, batch_size=16),
    )


def squares() -> Dataset:
    draw = torch.Generator().manual_seed(0)
    colours = torch.randint(0, 256, (96, 3, 2, 2), generator=draw, dtype=torch.uint8)
    images = colours.repeat_interleave(8, 2).repeat_interleave(8, 3)
    return Dataset("squares", Split(images[:80]), Split(images[80:]))


def quantizer_of(model: Autoencoder) -> TwoLevelQuantizer:
    quantizer = model.quantizer
    assert isinstance(quantizer, TwoLevelQuantizer)
    return quantizer


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("vq2") / "run"
    return train(config(8), dataset=squares(), out=out, quiet=True)


def test_each_level_has_its_codebook(run: Run) -> None:
    codes = run.model.encode_codes(squares().test.images / 255)
    assert codes.shape == (16, sum(PLACES))
    coarse, fine = torch.split(codes, list(PLACES), 1)
    assert 0 <= int(coarse.min()) <= int(coarse.max()) < CODES
    assert CODES <= int(fine.min()) <= int(fine.max()) < 2 * CODES
    quantizer = quantizer_of(run.model)
    vectors = quantizer.vectors_of(codes)
    # A vector is nearest to itself, or to another that equals it but for rounding.
    again = quantizer.vectors_of(quantizer.codes_of(vectors))
    torch.testing.assert_close(again, vectors, atol=1e-3, rtol=0)
    chosen = quantizer.coarse.vectors[coarse].transpose(1, 2).flatten(1)
    assert torch.equal(vectors[:, : chosen.shape[1]], chosen)


def test_the_fine_level_follows_the_codes_of_the_coarse_one() -> None:
    torch.manual_seed(0)
    model = build(config(1).model, SHAPE).eval()
    images = torch.rand(4, *SHAPE)
    mean, _ = model.encode(images)
    quantizer = quantizer_of(model)
    with torch.no_grad():
        quantizer.coarse.vectors.add_(1.0)
    again, _ = model.encode(images)
    before, after = quantizer.apart(mean), quantizer.apart(again)
    assert torch.equal(before[0], after[0]), "the coarse level knows nothing of its codebook"
    assert not torch.equal(before[1], after[1])


def test_the_codebooks_are_saved_and_trained_once(run: Run) -> None:
    names = [name for name, _ in run.model.named_parameters() if name.endswith(".vectors")]
    assert names == ["decoder.quantizer.coarse.vectors", "decoder.quantizer.fine.vectors"]
    again = Run.load(run.path)
    images = squares().test.images / 255
    assert torch.equal(again.model.encode_codes(images), run.model.encode_codes(images))


def test_it_trains_and_a_resumed_run_has_the_same_weights(run: Run, tmp_path: Path) -> None:
    errors = [record["test_reconstruction"] for record in run.history]
    assert errors[-1] < errors[0]
    assert 2 < run.evaluate()["codes_used"] <= 2 * CODES
    train(config(3), dataset=squares(), out=tmp_path / "run", quiet=True)
    parts = train(config(8), dataset=squares(), out=tmp_path / "run", quiet=True, resume=True)
    state = parts.model.state_dict()
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_its_codes_are_served_as_torch_gives_them(run: Run, tmp_path: Path) -> None:
    run.export(tmp_path / "models", "squares")
    images = squares().test.images
    with torch.inference_mode():
        codes = run.model.encode_codes(images / 255).numpy()
    with running_server(tmp_path / "models") as server, Client(server.address) as client:
        described = client.model()
        assert (described.codebook_size, described.latent_shape) == (2 * CODES, (sum(PLACES),))
        found = client.encode_codes(images.numpy())
        # Where two vectors are equally near, rounding decides, which processors do differently.
        assert (found.codes != codes).mean() <= 0.01
        with torch.inference_mode():
            logits = run.model.decode_codes(torch.tensor(found.codes))
        expected = run.model.likelihood.mean(logits).numpy()
        np.testing.assert_allclose(client.decode(found.codes).images, expected, atol=1e-5)


def test_sides_that_the_coarse_level_does_not_divide_are_refused(
    mnist_subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--dataset", "mnist", "--data-dir", str(mnist_subset), "--out", str(tmp_path / "run")]
    assert main(["--model", "vq-vae-2", "--downsampling", "4", *data]) == 2
    assert "downsampling: 8 does not divide the sides" in capsys.readouterr().err
