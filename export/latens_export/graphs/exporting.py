"""Writes a torch module of one input as an ONNX graph with a free batch and free axes."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnxscript import rewriter
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter.rules.common import _no_op

from latens_export.errors import GraphError
from latens_export.graphs.naming import name_sizes, named, without_traces
from latens_export.graphs.weights import serialized

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


class Tracing:
    """A module of one input that is traced once, and written in one opset or several."""

    def __init__(
        self,
        module: nn.Module,
        axes: Sequence[Axis],
        input_name: str,
        output_names: list[str],
        dtype: torch.dtype = torch.float32,
        part: str = "graph",
    ) -> None:
        """Takes what is to be written.

        Args:
            module: takes `[n, *axes]`.
            axes: of a row of the input; batch and free axes stay free.
            input_name: of the graph.
            output_names: of the graph.
            dtype: of the input.
            part: `encoder` or `decoder`: the name of the file of weights, if they need one.
        """
        self._dtype = dtype
        self._part = part
        self._module = module.eval()
        self.axes = axes
        self._input_name = input_name
        self._output_names = output_names
        self._program: ExportedProgram | None = None

    def graph(self, opset: int) -> bytes:
        """The module as an ONNX file, a `LargeGraph` if its weights exceed one.

        The same weights give the same bytes on every machine: what the exporter writes of source
        files and stack frames is taken out.

        Raises:
            GraphError: the exporter cannot express the module, or fixes the size of a free axis.
        """
        try:
            with _exporting(), torch.no_grad():
                written = self._written(opset)
        except Exception as error:
            raise GraphError(f"torch.onnx.export failed: {_reason(error)}") from error
        # What a network computes from its weights alone is computed once, here.
        fold_constants(written.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
        graph = named(without_traces(written.model_proto), [self._input_name], self._output_names)
        name_sizes(graph, [BATCH_AXIS, *(axis.name for axis in self.axes)])
        require_free_axes(graph, self.axes)
        return serialized(graph, f"{self._part}.weights")

    def _written(self, opset: int) -> Any:
        if self._program is not None:
            return torch.onnx.export(
                self._program, opset_version=opset, dynamo=True, external_data=False, verbose=False
            )
        written = torch.onnx.export(
            self._module,
            (torch.zeros(_TRACED_ROWS, *_traced_shape(self.axes), dtype=self._dtype),),
            dynamic_shapes=(_dimensions(self.axes),),
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert written is not None
        self._program = written.exported_program
        return written


def small_graph(module: nn.Module, ranks: Sequence[int], opset: int) -> onnx.ModelProto:
    """A module without weights as a graph, for tensors of any size.

    Args:
        module: takes as many tensors as there are ranks, and looks at none of their sizes.
        ranks: of its inputs.
        opset: of the graph.
    """
    examples = tuple(torch.zeros(*range(2, 2 + rank)) for rank in ranks)
    shapes = tuple(dict.fromkeys(range(rank), torch.export.Dim.AUTO) for rank in ranks)
    with _exporting(), torch.no_grad():
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
    """The usual shape: a network may take another path for small sizes, which the graph would keep.

    Free axes get sizes that differ, since torch may take equal sizes for one size.
    """
    shape: list[int] = []
    for axis in axes:
        size = axis.usual_size
        while axis.is_free and size in shape:
            size = size + axis.multiple if size < axis.maximum else axis.minimum
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


def _reason(error: Exception) -> str:
    """What torch says of a failure, in one line: that of the innermost cause."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """Prepares the exporter: no inexact rewriting, and nothing of it on the terminal.

    What it prints and warns of are its own dependencies, mostly; its errors are raised.
    """
    exporter = logging.getLogger("torch.onnx")
    rules = rewriter._DEFAULT_REWRITE_RULES  # noqa: SLF001
    inexact = set(map(id, _no_op.rules))
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # The others take x + 1e-15 for x, so that a division by it becomes one by zero.
        exact = tuple(rule for rule in rules if id(rule) not in inexact)
        rewriter._DEFAULT_REWRITE_RULES = exact  # noqa: SLF001
        try:
            yield
        finally:
            rewriter._DEFAULT_REWRITE_RULES = rules  # noqa: SLF001
            exporter.setLevel(level)
