"""`conv` and `resnet` take colour images of many sizes, train, and refuse what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latens_training import Dataset, ModelConfig, RunConfig, Split, TrainConfig, train
from latens_training.errors import UsageError
from latens_training.likelihoods.discrete import Categorical
from latens_training.models.autoencoder import ImageShape
from latens_training.models.build import build


def model_of(name: str, shape: ImageShape, **options: object) -> torch.nn.Module:
    return build(ModelConfig(architecture=name, model_options=options), shape)


@pytest.mark.parametrize(
    "shape", [(1, 32, 32), (3, 64, 64), (3, 40, 48), (1, 56, 32), (3, 256, 256)]
)
def test_conv_takes_sides_that_are_multiples_of_eight(shape: ImageShape) -> None:
    model = build(ModelConfig(architecture="conv", latent_size=5), shape)
    output = model(torch.rand(2, *shape), torch.randn(3, 2, 5))
    assert output.decoded.shape == (3, 2, *shape)
    assert output.mean.shape == (2, 5)


def test_conv_at_64_pixels_has_the_layers_of_burgess() -> None:
    model = build(ModelConfig(architecture="conv", latent_size=10), (1, 64, 64))
    kernels = [tuple(w.shape) for name, w in model.encoder.named_parameters() if w.dim() == 4]
    assert kernels == [(32, 1, 4, 4), *[(32, 32, 4, 4)] * 3]
    dense = [tuple(w.shape) for name, w in model.encoder.named_parameters() if w.dim() == 2]
    assert dense == [(256, 512), (256, 256), (10, 256), (10, 256)]


@pytest.mark.parametrize("sides", [(24, 32), (36, 32), (264, 32), (30, 30)])
def test_conv_refuses_other_sides_with_the_rule(sides: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiples of 8 from 32 to 256, these are"):
        model_of("conv", (1, *sides))


@pytest.mark.parametrize("downsampling", [2, 4, 8])
def test_resnet_keeps_rows_and_columns_in_the_latent(downsampling: int) -> None:
    options = {"downsampling": downsampling, "latent_channels": 3, "width": 8}
    model = build(ModelConfig(architecture="resnet", model_options=options), (3, 32, 48))
    assert model.latent_shape == (3, 32 // downsampling, 48 // downsampling)
    noise = torch.randn(1, 2, *model.latent_shape)
    assert model(torch.rand(2, 3, 32, 48), noise).decoded.shape == (1, 2, 3, 32, 48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"downsampling": 6}, "downsampling: expected a power of 2, got 6"),
        ({"downsampling": 8}, "downsampling: 8 does not divide the sides of the images, 28 x 28"),
        ({"blocks": 0}, "blocks: input should be greater than or equal to 1"),
        ({"depth": 3}, "depth: has no effect here: model resnet has the options latent-channels"),
    ],
)
def test_resnet_refuses_what_does_not_fit(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_of("resnet", (1, 28, 28), **options)


def test_a_network_gives_as_many_values_as_the_likelihood_reads() -> None:
    for name in ("vae-mlp", "vae-conv"):
        model = build(ModelConfig(architecture=name), (1, 28, 28), Categorical(4))
        assert model.decode(torch.zeros(2, 2)).shape == (2, 4, 28, 28)
        assert model.images(torch.zeros(2, 2)).shape == (2, 1, 28, 28)


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(architecture="conv", latent_size=4, model_options={"width": 8}),
        ModelConfig(
            architecture="resnet",
            model_options={"width": 8, "latent_channels": 2, "downsampling": 4},
        ),
    ],
    ids=lambda model: model.architecture,
)
def test_they_train_and_their_figures_are_drawn(model: ModelConfig, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    colours = torch.randint(0, 256, (72, 3, 1, 1), generator=draw, dtype=torch.uint8)
    images = colours.expand(72, 3, 32, 32).contiguous()
    data = Dataset("colours", Split(images[:64]), Split(images[64:]))
    config = RunConfig(model=model, train=TrainConfig(epochs=12, batch_size=8))
    run = train(config, dataset=data, out=tmp_path / "run", quiet=True)
    elbos = [record["test_elbo"] for record in run.history]
    assert elbos[-1] > elbos[0]
    drawn = {path.stem for path in run.figures()}
    assert {"reconstructions", "samples", "scatter", "traversals", "units"} <= drawn
