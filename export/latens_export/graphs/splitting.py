"""A network split into its two graphs, in the precision asked for, and how exact they are."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from latens_export.checks import parity
from latens_export.checks.activations import layers_beyond_half, require_finite
from latens_export.checks.inputs import values_of
from latens_export.checks.integer_sums import require_exact_sums
from latens_export.errors import UsageError
from latens_export.graphs.exporting import OPSET
from latens_export.graphs.int8 import MIN_WEIGHTS, count_products, with_int8_products
from latens_export.graphs.onnx_files import OnnxModule
from latens_export.graphs.precision import Precision
from latens_export.graphs.rounding import as_tf32, in_half_precision
from latens_export.graphs.tracing import decoder_graph, encoder_graph
from latens_serving.bundle.graph import LargeGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from latens_export.checks.inputs import Inputs
    from latens_export.checks.parity import Parity
    from latens_export.network import Network

CALIBRATION_IMAGES = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Graphs:
    """A network's encoder and decoder as ONNX."""

    encoder: bytes
    decoder: bytes


def split(
    network: Network,
    precision: Precision,
    inputs: Inputs,
    step: Callable[[str], None],
    opset: int | None = OPSET,
) -> Graphs:
    """Writes the two graphs.

    Args:
        network: the network, in eval mode.
        precision: what the graphs compute in.
        inputs: real data, for the ranges of integers and the largest activations.
        step: receives a line of text when a part of the work begins.
        opset: of the graphs; None for the quickest.

    Raises:
        GraphError: the network cannot be written as graphs.
        HalfRangeError: float16 cannot hold what the network computes.
        UsageError: the precision does nothing for this network, or cannot be had of its source.
    """
    _require_torch(network, precision)
    half = _half(network, inputs, step) if precision is Precision.FLOAT16 else None
    step("writing the encoder's graph")
    encoder = encoder_graph(half or network, opset=opset)
    step("writing the decoder's graph")
    decoder = decoder_graph(half or network, opset=opset)
    if precision is Precision.INT8:
        step("putting large products into integers")
        return _in_int8(network, Graphs(encoder, decoder), inputs.calibration)
    return Graphs(encoder, decoder)


def split_within(
    network: Network,
    inputs: Inputs,
    step: Callable[[str], None],
    opset: int | None = OPSET,
) -> tuple[Graphs, Parity]:
    """Writes the two graphs and requires that they equal the network within a tolerance.

    Integers cost a decoder more than an encoder: a pixel near 1/2 takes the whole error of its
    logit. A decoder whose images differ by more than the tolerance is kept in float32.

    Args:
        network: the network, in eval mode.
            Its spec says the precision, and the largest accepted difference.
        inputs: real data.
        step: receives a line of text when a part of the work begins.
        opset: of the graphs; None for the quickest.

    Raises:
        GraphError: the network cannot be written as graphs.
        ParityError: the graphs differ from the network by more than the tolerance.
        UsageError: the precision does nothing for this network.
    """
    precision, tolerance = Precision(network.spec.precision), network.spec.tolerance
    graphs = split(network, precision, inputs, step, opset)
    step("comparing the graphs with the network")
    measured = measure(network, graphs, precision, inputs.batches)
    error = measured.differences[network.spec.data_field]
    if error > tolerance and count_products(graphs.encoder) and count_products(graphs.decoder):
        step(f"keeping the decoder in float32: in integers its images differ by {error:.2g}")
        graphs = Graphs(graphs.encoder, decoder_graph(network, opset=opset))
        measured = measure(network, graphs, precision, inputs.batches)
    parity.require(measured, tolerance)
    return graphs, measured


def measure(
    network: Network, graphs: Graphs, precision: Precision, data: Tensor | Sequence[Tensor]
) -> Parity:
    """How far the graphs are from the network, on real test data.

    The rounding of TF32, which only a GPU does, is computed in torch and counts as well. Integer
    products must be exact on every processor, so that what is measured here holds on each.

    Raises:
        ParityError: an output is not finite or misshaped, or an integer product is not exact.
    """
    if precision is Precision.INT8:
        require_exact_sums(graphs.encoder)
        require_exact_sums(graphs.decoder)
    measured = parity.measure(network, graphs.encoder, graphs.decoder, data)
    if precision is Precision.TF32:
        rounded = parity.measure_network(network, as_tf32(network), data)
        return parity.larger(measured, rounded)
    return measured


def _require_torch(network: Network, precision: Precision) -> None:
    """ONNX files have no layers whose rounding could be judged."""
    if precision in (Precision.TF32, Precision.FLOAT16) and isinstance(network.encoder, OnnxModule):
        raise UsageError(
            f"precision: {precision} needs the network as a torch module; of ONNX files, "
            "float32 and int8 can be made"
        )


def _half(network: Network, inputs: Inputs, step: Callable[[str], None]) -> Network:
    """The network in float16, but for the layers whose values float16 could not hold."""
    step("measuring the activations of each layer, for float16")
    kept = layers_beyond_half(network, inputs.batches)
    if kept:
        step(f"keeping {len(kept)} layers in float32, beyond float16's range: {', '.join(kept)}")
    half = in_half_precision(network, kept)
    require_finite(half, inputs.batches, kept)
    return half


def _in_int8(network: Network, graphs: Graphs, calibration: Tensor) -> Graphs:
    pixels = values_of(calibration[:CALIBRATION_IMAGES])
    if isinstance(graphs.encoder, LargeGraph) or isinstance(graphs.decoder, LargeGraph):
        raise UsageError("precision: int8 is not offered for graphs of more than 1 GiB of weights")
    means = parity.reference_latents(network, pixels)
    latents = np.concatenate([means, parity.draws(network, means)])
    encoder = with_int8_products(graphs.encoder, pixels)
    decoder = with_int8_products(graphs.decoder, latents)
    if not count_products(encoder) + count_products(decoder):
        raise UsageError(
            f"precision: int8 does nothing here: no matrix product has {MIN_WEIGHTS} weights"
        )
    return Graphs(encoder, decoder)
