"""The opset of a graph, chosen by measuring the graph at hand.

From opset 21 on, GroupNorm is one operator, and from 23 on attention is. That halved the time of a
small decoder, but a large one became slower. So each is measured, where that takes little time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import onnx

from latens_export.errors import GraphError
from latens_export.graphs.exporting import OPSET
from latens_export.graphs.sessions import session
from latens_serving.bundle.graph import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from latens_serving.bundle.axes import Axis

NEWER = (21, 23)
LARGEST_MEASURED = 64 << 20
"""Bytes of a graph: that of a larger one stays at `OPSET`."""
LEAST_GAIN = 1.25
"""A newer opset must be quicker by this factor."""

_FUSED_LATER = {"InstanceNormalization", "Softmax"}
_ROUNDS = 5
_MOST_ELEMENTS = 1 << 16


def with_quickest_opset(write: Callable[[int], bytes], axes: Sequence[Axis]) -> bytes:
    """The graph in the opset that runs quickest on this machine; `OPSET` where in doubt.

    Args:
        write: makes the graph for an opset.
        axes: of its input.
    """
    usual = write(OPSET)
    if size_of(usual) > LARGEST_MEASURED or not _is_fused_later(usual):
        return usual
    graphs = [usual, *filter(None, (_written(write, opset) for opset in NEWER))]
    seconds = _measure(graphs, axes)
    best = int(np.argmin(seconds))
    return graphs[best] if seconds[0] > LEAST_GAIN * seconds[best] else usual


def _is_fused_later(graph: bytes) -> bool:
    """Whether a newer opset has one operator for several of the graph's."""
    return any(node.op_type in _FUSED_LATER for node in onnx.load_from_string(graph).graph.node)


def _written(write: Callable[[int], bytes], opset: int) -> bytes | None:
    """The graph in a newer opset; None where it cannot be written, or not be run here."""
    try:
        graph = write(opset)
        session(graph)
    except GraphError:
        return None
    return graph


def _measure(graphs: list[bytes], axes: Sequence[Axis]) -> list[float]:
    """The least time of a run of each, in turns, so that a busy machine slows all of them."""
    sessions = [session(graph) for graph in graphs]
    shape = [axis.usual_size for axis in axes]
    if np.prod(shape) > _MOST_ELEMENTS:
        shape = [axis.smallest_size for axis in axes]
    is_coded = sessions[0].get_inputs()[0].type == "tensor(int64)"
    values = np.zeros((1, *shape), np.int64 if is_coded else np.float32)
    found = [float("inf")] * len(graphs)
    for _ in range(_ROUNDS):
        for index, ready in enumerate(sessions):
            start = time.perf_counter()
            ready.run(None, {ready.get_inputs()[0].name: values})
            found[index] = min(found[index], time.perf_counter() - start)
    return found
