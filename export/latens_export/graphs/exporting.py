"""Writes a torch module of one input as an ONNX graph with a free batch and free axes."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnxscript.optimizer import fold_constants

from latens_export.errors import GraphError
from latens_export.graphs.naming import name_sizes, named, without_traces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn
    from torch.export import ExportedProgram

    from latens_serving.bundle.axes import Axis

OPSET = 20
BATCH_AXIS = "batch"

_MAX_BATCH = 2**20
_ANY_SIZE = 2**62  # of a weight that is computed from others
_TRACED_ROWS = 2


def to_onnx(
    module: nn.Module,
    axes: Sequence[Axis],
    input_name: str,
    output_names: list[str],
    opset: int = OPSET,
) -> bytes:
    """A module of one input as a self-contained ONNX file whose batch and free axes are free.

    The same weights give the same bytes on every machine: what the exporter writes of source files
    and stack frames is taken out.

    Raises:
        GraphError: the exporter cannot express the module, or it fixes the size of a free axis.
    """
    program = traced(module, axes)
    return graph_of(program, axes, input_name, output_names, opset)


def traced(module: nn.Module, axes: Sequence[Axis]) -> ExportedProgram:
    """A module of one input, traced with a free batch and the free axes.

    Raises:
        GraphError: it cannot be traced.
    """
    example = torch.zeros(_TRACED_ROWS, *_traced_shape(axes))
    try:
        with _quiet_exporter(), torch.no_grad():
            return torch.export.export(
                module, (example,), dynamic_shapes=(_dimensions(axes),), strict=False
            )
    except Exception as error:
        raise GraphError(f"torch.export failed: {_first_line(error)}") from error


def graph_of(
    program: ExportedProgram,
    axes: Sequence[Axis],
    input_name: str,
    output_names: list[str],
    opset: int,
) -> bytes:
    """A traced module as ONNX in an opset; see `to_onnx`."""
    try:
        with _quiet_exporter():
            written = torch.onnx.export(
                program,
                opset_version=opset,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise GraphError(f"torch.onnx.export failed: {_first_line(error)}") from error
    assert written is not None
    # What a network computes from its weights alone is computed once, here.
    fold_constants(written.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    graph = named(without_traces(written.model_proto), [input_name], output_names)
    name_sizes(graph, [BATCH_AXIS, *(axis.name for axis in axes)])
    require_free_axes(graph, axes)
    return graph.SerializeToString(deterministic=True)


def small_graph(module: nn.Module, ranks: Sequence[int], opset: int) -> onnx.ModelProto:
    """A module without weights as a graph, for tensors of any size.

    Args:
        module: takes as many tensors as there are ranks, and looks at none of their sizes.
        ranks: of its inputs.
        opset: of the graph.
    """
    examples = tuple(torch.zeros(*range(2, 2 + rank)) for rank in ranks)
    shapes = tuple(dict.fromkeys(range(rank), torch.export.Dim.AUTO) for rank in ranks)
    with _quiet_exporter(), torch.no_grad():
        program = torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)
        written = torch.onnx.export(program, opset_version=opset, dynamo=True, verbose=False)
    assert written is not None
    graph: onnx.ModelProto = without_traces(written.model_proto)
    return graph


def _dimensions(axes: Sequence[Axis]) -> dict[int, Any]:
    """What torch.export may assume of each free axis: its bounds and its multiple."""
    dimensions: dict[int, Any] = {0: torch.export.Dim(BATCH_AXIS, min=1, max=_MAX_BATCH)}
    for place, axis in enumerate(axes, 1):
        if axis.is_free:
            many = axis.multiple
            # The name of a multiple's factor: `height_8`, so that `8*height_8` is the height.
            name = axis.name if many == 1 else f"{axis.name}_{many}"
            factor = torch.export.Dim(name, min=axis.minimum // many, max=axis.maximum // many)
            dimensions[place] = factor if many == 1 else many * factor
    return dimensions


def _traced_shape(axes: Sequence[Axis]) -> list[int]:
    """A small allowed shape. Axes differ, since torch takes equal sizes for one size."""
    shape: list[int] = []
    for axis in axes:
        size = axis.smallest_size
        if axis.is_free:
            least = max(axis.minimum, min(2 * axis.multiple, axis.maximum))
            size = next(
                (
                    other
                    for other in range(least, axis.maximum + 1, axis.multiple)
                    if other not in shape
                ),
                least,
            )
        shape.append(size)
    return shape


def require_free_axes(graph: onnx.ModelProto, axes: Sequence[Axis]) -> None:
    for value in [*graph.graph.input, *graph.graph.output]:
        axis = value.type.tensor_type.shape.dim[0]
        if axis.dim_param != BATCH_AXIS:
            raise GraphError(f"{value.name}: the network fixes its batch size to {axis.dim_value}")
    sizes = graph.graph.input[0].type.tensor_type.shape.dim[1:]
    for axis_spec, size in zip(axes, sizes, strict=True):
        if axis_spec.is_free and not size.dim_param:
            raise GraphError(f"the network fixes its {axis_spec.name} to {size.dim_value}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keeps what the exporter prints and warns of (its own dependencies, mostly) off the terminal.

    Its errors are raised, so nothing is lost.
    """
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            exporter.setLevel(level)
