"""Graphs made ready to run on the CPU."""

from __future__ import annotations

import onnxruntime as ort

from latens_export.errors import GraphError
from latens_serving.bundle.graph import LargeGraph


def session(graph: bytes) -> ort.InferenceSession:
    """A graph made ready to run on the CPU.

    Raises:
        GraphError: ONNX Runtime cannot load it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3  # its warnings are of its own optimisations
    if isinstance(graph, LargeGraph):
        options.add_external_initializers_from_files_in_memory(
            [graph.file], [graph.weights], [len(graph.weights)]
        )
    try:
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GraphError(f"ONNX Runtime cannot load the graph: {reason}") from error
