"""Further forms of a network's graphs: for pixels as bytes, in float32, and their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latens_export.checks import parity
from latens_export.errors import UsageError
from latens_export.graphs.pixels import with_byte_input, with_byte_output
from latens_export.graphs.precision import Precision
from latens_export.graphs.tracing import decoder_graph, encoder_graph
from latens_serving.bundle.graph import LargeGraph, size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from latens_export.checks.inputs import Inputs
    from latens_export.graphs.splitting import Graphs
    from latens_export.network import Network

ENCODER_UINT8_FILE = "encoder-uint8.onnx"
DECODER_UINT8_FILE = "decoder-uint8.onnx"
ENCODER_FLOAT32_FILE = "encoder-float32.onnx"
DECODER_FLOAT32_FILE = "decoder-float32.onnx"
LARGEST_DOUBLED = 64 << 20
"""Bytes of a graph: of a larger one there is no second form for pixels as bytes."""


def weights_of(graphs: Graphs) -> dict[str, bytes]:
    """The files of weights, of graphs that have them."""
    return {
        graph.file: graph.weights
        for graph in (graphs.encoder, graphs.decoder)
        if isinstance(graph, LargeGraph)
    }


def float32_graphs(
    network: Network, inputs: Inputs, opset: int | None, step: Callable[[str], None]
) -> dict[str, bytes]:
    if network.spec.precision != Precision.FLOAT16:
        raise UsageError("keep-float32: expected --precision float16, of which rows may overflow")
    step("writing both graphs in float32 as well, for rows that float16 cannot hold")
    encoder = encoder_graph(network, opset=opset)
    decoder = decoder_graph(network, opset=opset)
    if isinstance(encoder, LargeGraph) or isinstance(decoder, LargeGraph):
        raise UsageError("keep-float32: the graphs are too large to be kept twice")
    measured = parity.measure(network, encoder, decoder, inputs.batches)
    parity.require(measured, network.spec.tolerance)
    return {ENCODER_FLOAT32_FILE: encoder, DECODER_FLOAT32_FILE: decoder}


def byte_graphs(graphs: Graphs, step: Callable[[str], None], *, decoder: bool) -> dict[str, bytes]:
    """The graphs for pixels as bytes; no decoder in float16, whose overflows bytes do not show."""
    largest = max(size_of(graphs.encoder), size_of(graphs.decoder))
    if largest > LARGEST_DOUBLED:
        step(f"leaving out the graphs for pixels as bytes: they would double {largest} bytes")
        return {}
    found = {ENCODER_UINT8_FILE: with_byte_input(graphs.encoder)}
    if decoder:
        found[DECODER_UINT8_FILE] = with_byte_output(graphs.decoder)
    return found
