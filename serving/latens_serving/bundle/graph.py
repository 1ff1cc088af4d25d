"""An ONNX graph whose weights are too many for one file."""

from __future__ import annotations

from typing import Final

LARGEST_GRAPH: Final = (2 << 30) - 1
"""Bytes: no protobuf message is larger, and an ONNX graph is one."""
LARGEST_WEIGHTS: Final = 256 << 30
"""Bytes of the file of weights beside a graph."""


class LargeGraph(bytes):
    """The bytes of an ONNX graph with its weights, which lie in a second file.

    Attributes:
        file: the name of that file, by which the graph refers to it.
        weights: its content.
    """

    file: str
    weights: bytes

    @classmethod
    def of(cls, graph: bytes, file: str, weights: bytes) -> LargeGraph:
        """A graph that refers to `file`, and the content of that file."""
        made = cls(graph)
        made.file = file
        made.weights = weights
        return made


def size_of(graph: bytes) -> int:
    """The bytes of a graph and of its weights."""
    return len(graph) + (len(graph.weights) if isinstance(graph, LargeGraph) else 0)
