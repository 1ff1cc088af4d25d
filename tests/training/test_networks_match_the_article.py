"""The networks have the article's layers, take any image shape they can, and load its weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from latens_training.config import ModelConfig
from latens_training.errors import UsageError
from latens_training.models.article_conv import PixelConvTranspose2d
from latens_training.models.autoencoder import reparameterize
from latens_training.models.build import build

MNIST = (1, 28, 28)


@pytest.mark.parametrize(
    ("architecture", "latent_size", "parameters"),
    [
        ("ae-mlp", 2, 630_386),
        ("vae-mlp", 2, 631_188),
        ("vae-mlp", 10, 640_804),
        ("vae-mlp", 20, 652_824),
        ("vae-conv", 10, 5_507_701),
    ],
)
def test_the_number_of_parameters_is_the_articles(
    architecture: str, latent_size: int, parameters: int
) -> None:
    model = build(ModelConfig(architecture=architecture, latent_size=latent_size), MNIST)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize("architecture", ["ae-mlp", "vae-mlp", "vae-conv"])
def test_encoder_and_decoder_work_separately(architecture: str) -> None:
    model = build(ModelConfig(architecture=architecture, latent_size=3), MNIST)
    mean, log_var = model.encoder(torch.rand(5, *MNIST))
    assert mean.shape == (5, *model.latent_shape)
    assert (log_var is None) == (model.posterior == "deterministic")
    assert model.decoder(mean).shape == (5, *MNIST)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7), (1, 64, 64)])
def test_the_mlp_takes_any_image_shape(shape: tuple[int, int, int]) -> None:
    model = build(ModelConfig(hidden=(20, 10), activation="tanh"), shape)
    logits, latents, mean, log_var = model(torch.rand(4, *shape), torch.randn(3, 4, 2))
    assert logits.shape == (3, 4, *shape)
    assert latents.shape == (3, 4, 2)
    assert log_var is not None
    assert mean.shape == log_var.shape == (4, 2)


def test_the_convolutional_net_takes_colours_but_says_which_size_it_needs() -> None:
    config = ModelConfig(architecture="vae-conv")
    assert build(config, (3, 28, 28)).decode(torch.zeros(2, 2)).shape == (2, 3, 28, 28)
    with pytest.raises(UsageError, match="28 x 28 images, these are 32 x 30"):
        build(config, (1, 32, 30))


def test_tanh_is_the_articles_other_nonlinearity() -> None:
    smooth = build(ModelConfig(activation="tanh"), MNIST)
    assert any(isinstance(module, nn.Tanh) for module in smooth.modules())
    assert not any(isinstance(module, nn.ReLU) for module in smooth.modules())


def test_the_code_of_the_plain_autoencoder_is_linear() -> None:
    torch.manual_seed(0)
    model = build(ModelConfig(architecture="ae-mlp", latent_size=8), MNIST)
    codes, _ = model.encode(torch.rand(200, *MNIST))
    assert (codes < 0).any(), "a ReLU at the code leaves no negative value"


def test_the_first_transposed_convolution_is_exactly_a_linear_map() -> None:
    torch.manual_seed(0)
    ours, theirs = (
        kind(64, 16, 4, stride=2).double() for kind in (PixelConvTranspose2d, nn.ConvTranspose2d)
    )
    ours.load_state_dict(theirs.state_dict())  # the article's parametrisation, loaded as it is
    inputs = [torch.randn(7, 64, 1, 1, dtype=torch.double).requires_grad_() for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    outputs = ours(inputs[0]), theirs(inputs[1])
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    assert ours.bias is not None
    assert theirs.bias is not None
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad)


def test_latents_are_the_mean_and_scaled_noise() -> None:
    mean, log_var = torch.tensor([[1.0, -1.0]]), torch.tensor([[-torch.inf, 0.6931472]])
    noise = torch.tensor([[[0.5, 3.0]]])
    expected = torch.tensor([[[1.0, -1.0 + 2**0.5 * 3]]])
    torch.testing.assert_close(reparameterize(mean, log_var, noise), expected)
