"""A network split into its two graphs, in the precision asked for, and how exact they are."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from latens_export.checks import parity
from latens_export.checks.integer_sums import require_exact_sums
from latens_export.errors import UsageError
from latens_export.graphs.int8 import MIN_WEIGHTS, count_products, with_int8_products
from latens_export.graphs.precision import Precision
from latens_export.graphs.rounding import as_tf32
from latens_export.graphs.tracing import decoder_graph, encoder_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from latens_export.checks.parity import Parity
    from latens_export.network import Network

CALIBRATION_IMAGES = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Graphs:
    """A network's encoder and decoder as ONNX."""

    encoder: bytes
    decoder: bytes


def split(
    model: Network, precision: Precision, calibration: Tensor, step: Callable[[str], None]
) -> Graphs:
    """Writes the two graphs.

    Args:
        model: the network, in eval mode.
        precision: what the graphs compute in.
        calibration: real training images, uint8 [n, c, h, w], for the ranges of integers.
        step: receives a line of text when a part of the work begins.

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


def split_within(
    model: Network,
    precision: Precision,
    tolerance: float,
    calibration: Tensor,
    images: Tensor,
    step: Callable[[str], None],
) -> tuple[Graphs, Parity]:
    """Writes the two graphs and requires that they equal the network within a tolerance.

    Integers cost a decoder more than an encoder: a pixel near 1/2 takes the whole error of its
    logit. A decoder whose images differ by more than the tolerance is kept in float32.

    Args:
        model: the network, in eval mode.
        precision: what the graphs compute in.
        tolerance: the largest accepted difference of mean, log_var and images.
        calibration: real training images, uint8 [n, c, h, w], for the ranges of integers.
        images: real test images, uint8 [n, c, h, w].
        step: receives a line of text when a part of the work begins.

    Raises:
        GraphError: the network cannot be written as graphs.
        ParityError: the graphs differ from the network by more than the tolerance.
        UsageError: the precision does nothing for this network.
    """
    graphs = split(model, precision, calibration, step)
    step("comparing the graphs with the network")
    measured = measure(model, graphs, precision, images)
    error = measured.differences["images"]
    if error > tolerance and count_products(graphs.encoder) and count_products(graphs.decoder):
        step(f"keeping the decoder in float32: in integers its images differ by {error:.2g}")
        graphs = Graphs(graphs.encoder, decoder_graph(model))
        measured = measure(model, graphs, precision, images)
    parity.require(measured, tolerance)
    return graphs, measured


def measure(model: Network, graphs: Graphs, precision: Precision, images: Tensor) -> Parity:
    """How far the graphs are from the network, on real test images uint8 [n, c, h, w].

    The rounding of TF32, which only a GPU does, is computed in torch and counts as well. Integer
    products must be exact on every processor, so that what is measured here holds on each.

    Raises:
        ParityError: an output is not finite or misshaped, or an integer product is not exact.
    """
    if precision is Precision.INT8:
        require_exact_sums(graphs.encoder)
        require_exact_sums(graphs.decoder)
    measured = parity.measure(model, graphs.encoder, graphs.decoder, images)
    if precision is Precision.TF32:
        rounded = parity.measure_network(model, as_tf32(model), images)
        return parity.larger(measured, rounded)
    return measured


def _in_int8(model: Network, graphs: Graphs, calibration: Tensor) -> Graphs:
    pixels = parity.pixels_of(calibration[:CALIBRATION_IMAGES])
    means = parity.reference_posterior(model, pixels)["mean"]
    latents = np.concatenate([means, parity.prior_draws(model, len(pixels))])
    encoder = with_int8_products(graphs.encoder, pixels)
    decoder = with_int8_products(graphs.decoder, latents)
    if not count_products(encoder) + count_products(decoder):
        raise UsageError(
            f"precision: int8 does nothing here: no matrix product has {MIN_WEIGHTS} weights"
        )
    return Graphs(encoder, decoder)
