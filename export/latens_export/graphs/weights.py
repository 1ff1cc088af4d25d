"""Graphs whose weights exceed one protobuf message: the weights go into a second file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto
from onnx.external_data_helper import set_external_data

from latens_export.errors import GraphError
from latens_serving.bundle.graph import LARGEST_GRAPH, LargeGraph

if TYPE_CHECKING:
    import onnx

LARGEST_INLINE = 1 << 30
"""Bytes of weights: a graph with more has them in a second file."""
ALIGNMENT = 4096
"""Of each tensor in that file, so that it can be mapped into memory."""

_LEAST = 1 << 10  # bytes of a tensor that leaves the graph


def serialized(graph: onnx.ModelProto, file: str, largest_inline: int | None = None) -> bytes:
    """The bytes of a graph; a `LargeGraph` if its weights are too many.

    Args:
        graph: the graph, whose weights are taken out if they are many.
        file: the name of the file of weights.
        largest_inline: bytes; `LARGEST_INLINE` if None.

    Raises:
        GraphError: a single tensor is too large.
    """
    most = LARGEST_INLINE if largest_inline is None else largest_inline
    tensors = [tensor for tensor in graph.graph.initializer if len(tensor.raw_data) >= _LEAST]
    if sum(len(tensor.raw_data) for tensor in tensors) <= most:
        return graph.SerializeToString(deterministic=True)
    if largest := [tensor.name for tensor in tensors if len(tensor.raw_data) > LARGEST_GRAPH]:
        raise GraphError(f"{largest[0]}: ONNX Runtime takes at most 2 GiB of one tensor")
    weights = bytearray()
    for tensor in tensors:
        weights += bytes(-len(weights) % ALIGNMENT)
        _move(tensor, file, weights)
    return LargeGraph.of(graph.SerializeToString(deterministic=True), file, bytes(weights))


def _move(tensor: TensorProto, file: str, weights: bytearray) -> None:
    set_external_data(tensor, file, offset=len(weights), length=len(tensor.raw_data))
    weights += tensor.raw_data
    tensor.ClearField("raw_data")
