"""What the spec says of one graph: the shapes of its input, and the size of its answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from latens_serving.bundle.axes import Shape
from latens_serving.bundle.spec import ModelSpec
from latens_serving.engine.onnx import Engine
from latens_serving.engine.run_cost import InputShapes

# Callers choose among more shapes than are kept; those of one moment are few.
_SHAPES_KEPT = 256


def encodes(graph: str) -> bool:
    """Whether a graph, by its name, is one from data to posteriors."""
    return graph.startswith("encoder")


def input_shapes(spec: ModelSpec, graph: str) -> InputShapes:
    if encodes(graph):
        shapes = (spec.smallest_data_shape, spec.usual_data_shape)
    else:
        shapes = (spec.smallest_latent_shape, spec.usual_latent_shape)
    return InputShapes(*map(spec.graph_shape, shapes))


def answer_bytes(spec: ModelSpec, graph: str, engine: Engine) -> Callable[[Shape], int]:
    """A function from the shape of an input row to the bytes of its outputs."""
    output_shape = spec.latent_shape_of if encodes(graph) else spec.data_shape_of
    element_bytes = sum(output.dtype.itemsize for output in engine.outputs)

    @lru_cache(_SHAPES_KEPT)
    def size(shape: Shape) -> int:
        return math.prod(output_shape(spec.row_shape(shape))) * element_bytes

    return size
