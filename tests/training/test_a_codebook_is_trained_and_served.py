"""The VQ-VAE: its loss follows the paper, it trains and resumes, and its codes are served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from latens import Client
from latens.errors import NotOfferedError
from latens_export.cli import main as export
from latens_training import Dataset, LossConfig, ModelConfig, RunConfig, Split, TrainConfig, train
from latens_training.api import Run
from latens_training.cli.main import main
from latens_training.likelihoods.continuous import Bernoulli
from latens_training.models.autoencoder import Autoencoder
from latens_training.models.build import build
from latens_training.models.vector_quantization import Quantizer
from latens_training.objectives.batch import Batch
from latens_training.objectives.registry import build_objective
from latens_training.objectives.vector_quantization import perplexity_of
from server_process import running_server

SHAPE = (3, 16, 16)
CODES = 12
OPTIONS = {"codebook_size": CODES, "latent_channels": 4, "downsampling": 4, "width": 8}


def config(epochs: int = 3) -> RunConfig:
    return RunConfig(
        model=ModelConfig(architecture="vq-vae", model_options=OPTIONS),
        loss=LossConfig(objective="vq"),
        train=TrainConfig(epochs=epochs, batch_size=16),
    )


def squares() -> Dataset:
    draw = torch.Generator().manual_seed(0)
    colours = torch.randint(0, 256, (96, 3, 2, 2), generator=draw, dtype=torch.uint8)
    images = colours.repeat_interleave(8, 2).repeat_interleave(8, 3)
    return Dataset("squares", Split(images[:80]), Split(images[80:]))


def network() -> Autoencoder:
    torch.manual_seed(0)
    return build(config().model, SHAPE)


def nearest_by_distance(vectors: Tensor, latents: Tensor) -> Tensor:
    places = latents.permute(0, 2, 3, 1).flatten(0, 2)
    distances = (places[:, None] - vectors[None]).square().sum(-1)
    return distances.argmin(1).reshape(latents.shape[0], *latents.shape[2:])


def test_codes_are_those_of_the_nearest_vectors() -> None:
    torch.manual_seed(1)
    quantizer = Quantizer(CODES, 4)
    latents = torch.randn(3, 4, 5, 6)
    quantizer.train()(latents)  # the first batch gives the vectors
    codes = quantizer.codes_of(latents)
    assert torch.equal(codes, nearest_by_distance(quantizer.vectors, latents))
    assert len(codes.unique()) > CODES // 2
    before = quantizer.vectors.clone()
    quantizer(torch.randn(3, 4, 5, 6))
    assert torch.equal(quantizer.vectors, before), "only the first batch does"


def test_gradients_pass_as_if_nothing_were_replaced() -> None:
    torch.manual_seed(2)
    quantizer = Quantizer(CODES, 4).eval()
    latents = torch.randn(2, 4, 3, 3, requires_grad=True)
    weights = torch.randn(2, 4, 3, 3)
    (quantizer(latents) * weights).sum().backward()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, weights)
    assert quantizer.vectors.grad is None


def test_the_loss_is_that_of_the_paper() -> None:
    model = network()
    quantizer = model.quantizer
    assert isinstance(quantizer, Quantizer)
    images = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(3))
    model.train()
    output = model(images, torch.zeros(1, 5, *model.latent_shape))
    batch = Batch(output, images, Bernoulli(), 0.0, 5)
    objective = build_objective(
        LossConfig(objective="vq", objective_options={"commitment": 0.4}), model
    )
    terms = objective(batch)
    latents = output.mean
    chosen = quantizer.vectors[nearest_by_distance(quantizer.vectors, latents)].permute(0, 3, 1, 2)
    apart = (latents - chosen).square().sum()
    error = torch.nn.functional.binary_cross_entropy_with_logits(
        output.decoded[0], images, reduction="sum"
    )
    torch.testing.assert_close(terms["loss"], error + apart + 0.4 * apart)
    torch.testing.assert_close(terms["commitment"], apart)
    terms["loss"].backward()
    # The vectors move to the latents alone: the decoder's error does not reach them.
    counts = torch.zeros(CODES)
    pull = torch.zeros_like(quantizer.vectors)
    for code, place in zip(
        quantizer.codes_of(latents).flatten(),
        latents.detach().permute(0, 2, 3, 1).flatten(0, 2),
        strict=True,
    ):
        counts[code] += 1
        pull[code] += 2 * (quantizer.vectors[code].detach() - place)
    assert quantizer.vectors.grad is not None
    torch.testing.assert_close(quantizer.vectors.grad, pull, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["codebook_perplexity"] / 5, perplexity_of(counts))


@pytest.mark.parametrize(
    ("counts", "expected"), [([5, 0, 0, 0], 1.0), ([3, 3, 3, 3], 4.0), ([1, 1, 0, 0], 2.0)]
)
def test_the_perplexity_counts_the_codes_in_use(counts: list[int], expected: float) -> None:
    assert float(perplexity_of(torch.tensor(counts))) == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("vq") / "run"
    return train(config(12), dataset=squares(), out=out, quiet=True)


def test_it_trains_and_reports_how_much_of_the_codebook_is_used(run: Run) -> None:
    errors = [record["test_reconstruction"] for record in run.history]
    assert errors[-1] < errors[0]
    assert {"train_loss", "train_commitment", "train_codebook_perplexity"} <= run.history[-1].keys()
    metrics = run.evaluate()
    assert 1 < metrics["codebook_perplexity"] <= metrics["codes_used"] <= CODES


def test_its_figures_are_drawn(run: Run) -> None:
    drawn = {path.stem for path in run.figures()}
    assert {"reconstructions", "scatter"} <= drawn


def test_a_resumed_run_has_the_same_weights(tmp_path: Path) -> None:
    whole = train(config(4), dataset=squares(), out=tmp_path / "whole", quiet=True)
    train(config(2), dataset=squares(), out=tmp_path / "parts", quiet=True)
    parts = train(config(4), dataset=squares(), out=tmp_path / "parts", quiet=True, resume=True)
    state = parts.model.state_dict()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_its_codes_are_served_bit_for_bit(run: Run, tmp_path: Path) -> None:
    assert run.path is not None
    bundle = run.export(tmp_path / "models", "squares")
    assert bundle.is_dir()
    model, quantizer = run.model.eval(), run.model.quantizer
    assert quantizer is not None
    images = squares().test.images.numpy()
    with torch.inference_mode():
        codes = quantizer.codes_of(model.encode(torch.from_numpy(images) / 255)[0])
        decoded = model.images(quantizer.vectors_of(codes)).numpy()
    with running_server(tmp_path / "models") as server, Client(server.address) as client:
        described = client.model()
        assert (described.codebook_size, described.latent_shape) == (CODES, (4, 4))
        found = client.encode_codes(images)
        np.testing.assert_array_equal(found.codes, codes.numpy())
        np.testing.assert_allclose(client.decode(found.codes).images, decoded, atol=1e-5)
        with pytest.raises(NotOfferedError, match="has codes"):
            client.sample(2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "vq-vae", "--objective", "iwae"], "vq-vae is trained with vq, got iwae"),
        (["--model", "vq-vae", "--beta", "4"], "beta: has no effect here"),
        (["--model", "vq-vae-2", "--objective", "elbo", "--samples", "3"], "has no effect here"),
        (["--model", "vae-mlp", "--objective", "vq"], "vq is for models with a codebook"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    arguments: list[str],
    said: str,
    mnist_subset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where: list[Any] = ["--dataset", "mnist", "--data-dir", str(mnist_subset)]
    assert main([*arguments, *where, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


def test_the_command_line_needs_no_objective(tmp_path: Path) -> None:
    images = squares().train.images
    np.savez(tmp_path / "squares.npz", images=images.numpy())
    out = tmp_path / "run"
    sizes = ["--codebook-size", "8", "--width", "8", "--latent-channels", "4"]
    train_arguments = ["--epochs", "1", "--batch-size", "20", "--no-figures", "--out", str(out)]
    data = ["--dataset", str(tmp_path / "squares.npz")]
    assert main(["--model", "vq-vae", *data, *sizes, *train_arguments]) == 0
    assert export([str(out), "--repository", f"{tmp_path}/models", "--name", "squares"]) == 0
