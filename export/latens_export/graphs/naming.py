"""The names in a graph: inputs and outputs as the server knows them, no traces of source files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

_SYMBOL = re.compile(r"[A-Za-z_]\w*")


def named(graph: onnx.ModelProto, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """Renames the inputs and outputs of a graph, in place.

    A network may have values of these names inside (AutoencoderDC has a `mean`); those give way.
    """
    old_inputs = [value.name for value in graph.graph.input]
    old_outputs = [value.name for value in graph.graph.output]
    public = dict(zip([*old_inputs, *old_outputs], [*inputs, *outputs], strict=True))
    inner = {name: f"{name}_inside" for name in public.values() if name not in public}
    names = {**inner, **public}
    for holder, field in _name_fields(graph.graph):
        value = getattr(holder, field)
        if isinstance(value, str):
            setattr(holder, field, names.get(value, value))
        else:
            value[:] = [names.get(name, name) for name in value]
    return graph


def name_sizes(graph: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Renames the sizes that a graph leaves free, in place: `8*s21` becomes `8*height`.

    Args:
        graph: a graph of one input.
        names: of the input's axes, fixed ones included.
    """
    new: dict[str, str] = {}
    for size, name in zip(graph.graph.input[0].type.tensor_type.shape.dim, names, strict=True):
        for symbol in _SYMBOL.findall(size.dim_param):
            new.setdefault(symbol, name)
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = _SYMBOL.sub(
                    lambda found: new.get(found[0], found[0]), size.dim_param
                )
    return graph


def without_traces(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Takes out what the exporter wrote of source files and stack frames, in place."""
    del graph.metadata_props[:]
    graph.doc_string = ""
    parts: list[Any] = [
        graph.graph,
        *graph.graph.node,
        *graph.graph.value_info,
        *graph.graph.initializer,
    ]
    for part in [*parts, *graph.graph.input, *graph.graph.output]:
        part.doc_string = ""
        del part.metadata_props[:]
    for function in graph.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]
    return graph


def _name_fields(graph: onnx.GraphProto) -> Iterator[tuple[Any, str]]:
    """Where a graph, with the graphs in its nodes, holds names of values."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield value, "name"
    for node in graph.node:
        yield node, "input"
        yield node, "output"
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _name_fields(attribute.g)
