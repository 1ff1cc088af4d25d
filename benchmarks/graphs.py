"""The graphs to measure: the article's networks at L = 20, in all variants."""

from __future__ import annotations

import functools

import numpy as np
import torch

from latens_export.checks.parity import Floats, prior_draws
from latens_export.graphs.int8 import with_int8_products
from latens_export.graphs.pixels import with_byte_input, with_byte_output
from latens_export.graphs.tracing import ImageGraph, decoder_graph, encoder_graph, to_onnx
from latens_training.config import ModelConfig
from latens_training.data import datasets
from latens_training.models.autoencoder import Autoencoder, build

LATENT_SIZE = 20
IMAGE_SHAPE = (1, 28, 28)


@functools.cache
def network(architecture: str) -> Autoencoder:
    """A network with random weights, which do not affect the speed."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"architecture": architecture, "latent_size": LATENT_SIZE})
    return build(config, IMAGE_SHAPE).eval()


@functools.cache
def byte_images() -> torch.Tensor:
    """Real test images, uint8 [10000, 1, 28, 28]."""
    return datasets.load("mnist").test.images


def pixels(rows: int) -> Floats:
    """Real test images, float32 in [0, 1]; repeated if there are not enough."""
    images = byte_images()[torch.arange(rows) % len(byte_images())]
    return np.divide(images.numpy(), 255, dtype=np.float32)


def encoders(architecture: str) -> dict[str, bytes]:
    """The variants of the encoder by name."""
    model = network(architecture)
    plain = encoder_graph(model)
    integers = with_int8_products(plain, pixels(1000))
    return {
        "float32": plain,
        "float32, bytes in": with_byte_input(plain),
        "float16": encoder_graph(model, half=True),
        "int8": integers,
        "int8, bytes in": with_byte_input(integers),
    }


def decoders(architecture: str) -> dict[str, bytes]:
    """The variants of the decoder by name; `as trained` has plain transposed convolutions."""
    model = network(architecture)
    plain = decoder_graph(model)
    integers = with_int8_products(plain, prior_draws(model, 1000))
    example = torch.zeros(2, *model.latent_shape)
    as_trained = to_onnx(ImageGraph(_unfused(model)).eval(), example, "latents", ["images"])
    return {
        "as trained": as_trained,
        "float32": plain,
        "float32, bytes out": with_byte_output(plain),
        "float16": decoder_graph(model, half=True),
        "int8": integers,
        "int8, bytes out": with_byte_output(integers),
    }


def _unfused(model: Autoencoder) -> torch.nn.Module:
    """The decoder with plain transposed convolutions, as in the article."""
    import copy

    decoder = copy.deepcopy(model.decoder)
    for layer in decoder.modules():
        if isinstance(layer, torch.nn.ConvTranspose2d):
            layer.__class__ = torch.nn.ConvTranspose2d
    return decoder
