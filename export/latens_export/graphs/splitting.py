"""A network split into its two graphs, in the precision asked for, and how exact they are."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from latens_export.checks import parity
from latens_export.errors import UsageError
from latens_export.graphs.int8 import MIN_WEIGHTS, with_int8_products
from latens_export.graphs.precision import Precision
from latens_export.graphs.rounding import as_tf32
from latens_export.graphs.tracing import decoder_graph, encoder_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from latens_export.checks.parity import Parity
    from latens_training.models.autoencoder import Autoencoder

CALIBRATION_IMAGES = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Graphs:
    """A network's encoder and decoder as ONNX."""

    encoder: bytes
    decoder: bytes


def split(
    model: Autoencoder, precision: Precision, calibration: Tensor, step: Callable[[str], None]
) -> Graphs:
    """Writes the two graphs.

    Args:
        model: the network, in eval mode.
        precision: what they compute in.
        calibration: real training images, uint8 [n, c, h, w], for the ranges of integers.
        step: told what begins, in a few words.

    Raises:
        GraphError: the network cannot be written as graphs.
        UsageError: the precision does nothing for this network.
    """
    half = precision is Precision.FLOAT16
    step("writing the encoder's graph")
    encoder = encoder_graph(model, half=half)
    step("writing the decoder's graph")
    decoder = decoder_graph(model, half=half)
    if precision is Precision.INT8:
        step("putting large products into integers")
        return _in_int8(model, Graphs(encoder, decoder), calibration)
    return Graphs(encoder, decoder)


def measure(model: Autoencoder, graphs: Graphs, precision: Precision, images: Tensor) -> Parity:
    """How far the graphs are from the network, on real test images uint8 [n, c, h, w].

    The rounding of TF32, which only a GPU does, is computed in torch and counts as well.
    """
    measured = parity.measure(model, graphs.encoder, graphs.decoder, images)
    if precision is Precision.TF32:
        rounded = parity.measure_network(model, as_tf32(model), images)
        return parity.larger(measured, rounded)
    return measured


def _in_int8(model: Autoencoder, graphs: Graphs, calibration: Tensor) -> Graphs:
    pixels = parity.pixels_of(calibration[:CALIBRATION_IMAGES])
    means = parity.reference_posterior(model, pixels)["mean"]
    latents = np.concatenate([means, parity.prior_draws(model, len(pixels))])
    encoder, in_encoder = with_int8_products(graphs.encoder, pixels)
    decoder, in_decoder = with_int8_products(graphs.decoder, latents)
    if not in_encoder + in_decoder:
        raise UsageError(
            f"precision: int8 does nothing here: no matrix product has {MIN_WEIGHTS} weights"
        )
    return Graphs(encoder, decoder)
