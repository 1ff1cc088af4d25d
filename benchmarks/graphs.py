"""The graphs to measure: the article's networks at L = 20, in all variants."""

from __future__ import annotations

import functools

import numpy as np
import torch

from latens_export.checks.inputs import Floats
from latens_export.graphs.int8 import with_int8_products
from latens_export.graphs.pixels import with_byte_input, with_byte_output
from latens_export.graphs.rounding import in_half_precision
from latens_export.graphs.tracing import decoder_graph, encoder_graph
from latens_export.network import Network
from latens_serving.bundle.spec import ModelSpec, Posterior, fixed_image_axes, fixed_latent_axes
from latens_training.config import ModelConfig
from latens_training.data import datasets
from latens_training.models.build import build

LATENT_SIZE = 20
IMAGE_SHAPE = (1, 28, 28)


@functools.cache
def network(architecture: str) -> Network:
    """A network with random weights, which do not affect the speed."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"architecture": architecture, "latent_size": LATENT_SIZE})
    model = build(config, IMAGE_SHAPE)
    spec = ModelSpec(
        data_axes=fixed_image_axes(IMAGE_SHAPE),
        latent_axes=fixed_latent_axes((LATENT_SIZE,)),
        posterior=Posterior(model.posterior),
        tolerance=1e-4,
    )
    return Network(model.encoder, model.decoder, spec, logits=True)


def prior_draws(rows: int) -> Floats:
    """Latents from N(0, I): always the same ones."""
    generator = np.random.default_rng(0)
    return generator.standard_normal((rows, LATENT_SIZE)).astype(np.float32)


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
        "float16": encoder_graph(in_half_precision(model, ())),
        "int8": integers,
        "int8, bytes in": with_byte_input(integers),
    }


def decoders(architecture: str) -> dict[str, bytes]:
    """The variants of the decoder by name; `as trained` has plain transposed convolutions."""
    model = network(architecture)
    plain = decoder_graph(model)
    integers = with_int8_products(plain, prior_draws(1000))
    return {
        "as trained": decoder_graph(_unfused(model)),
        "float32": plain,
        "float32, bytes out": with_byte_output(plain),
        "float16": decoder_graph(in_half_precision(model, ())),
        "int8": integers,
        "int8, bytes out": with_byte_output(integers),
    }


def _unfused(model: Network) -> Network:
    """The network with plain transposed convolutions, as in the article."""
    import copy

    model = copy.deepcopy(model)
    for layer in model.decoder.modules():
        if isinstance(layer, torch.nn.ConvTranspose2d):
            layer.__class__ = torch.nn.ConvTranspose2d
    return model
