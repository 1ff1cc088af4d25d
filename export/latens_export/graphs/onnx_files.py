"""Encoders and decoders that are ONNX files already: folded by joining graphs."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import onnx
import onnxruntime as ort
import torch
from onnx import compose, version_converter
from torch import Tensor, nn

from latens_export.errors import GraphError
from latens_export.folding import (
    DataToNetwork,
    Folding,
    LatentsToNetwork,
    NetworkToData,
    NetworkToLatents,
)
from latens_export.graphs.exporting import small_graph
from latens_export.graphs.naming import named, without_traces
from latens_export.graphs.weights import serialized

if TYPE_CHECKING:
    from latens_serving.bundle.spec import ModelSpec

_OLDEST_OPSET = 18


class OnnxModule(nn.Module):
    """A graph of one input as a torch module: its answers are ONNX Runtime's."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        super().__init__()
        self.graph = graph
        self.session = ort.InferenceSession(
            graph.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        (name,) = (value.name for value in self.session.get_inputs())
        found = self.session.run(None, {name: values.numpy()})
        return tuple(torch.from_numpy(array) for array in found)


class OnnxDecoder(OnnxModule):
    """As `OnnxModule`, for a graph of one output."""

    def forward(self, values: Tensor) -> Tensor:  # type: ignore[override]  # one tensor, not a tuple
        (found,) = super().forward(values)
        return found


def folded_encoder(encoder: OnnxModule, spec: ModelSpec, folding: Folding) -> bytes:
    """The encoder's graph between the folding's, with the names of the spec."""
    graph = _modern(encoder.graph)
    if folding.changes_data:
        graph = _joined(_graph_before(DataToNetwork(folding), graph), graph)
    if folding.changes_latents:
        graph = _joined(graph, _graph_after(NetworkToLatents(folding), graph))
    return _finished(graph, spec.data_field, list(spec.encoded_fields), "encoder")


def folded_decoder(decoder: OnnxModule, spec: ModelSpec, folding: Folding) -> bytes:
    """The decoder's graph between the folding's, with the names of the spec."""
    graph = _modern(decoder.graph)
    if folding.changes_latents:
        graph = _joined(_graph_before(LatentsToNetwork(folding), graph), graph)
    if folding.changes_data or folding.logits or folding.bounds is not None:
        graph = _joined(graph, _graph_after(NetworkToData(folding), graph))
    return _finished(graph, spec.latent_field, [spec.data_field], "decoder")


def opset_of(graph: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a graph uses."""
    return next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))


def _finished(graph: onnx.ModelProto, input_name: str, output_names: list[str], part: str) -> bytes:
    graph = named(without_traces(graph), [input_name], output_names)
    try:
        onnx.checker.check_model(graph)
    except onnx.checker.ValidationError as error:
        raise GraphError(f"ONNX: {str(error).splitlines()[0]}") from error
    return serialized(graph, f"{part}.weights")


def _graph_before(module: nn.Module, graph: onnx.ModelProto) -> onnx.ModelProto:
    return small_graph(module, [_rank(value) for value in graph.graph.input], opset_of(graph))


def _graph_after(module: nn.Module, graph: onnx.ModelProto) -> onnx.ModelProto:
    return small_graph(module, [_rank(value) for value in graph.graph.output], opset_of(graph))


def _rank(value: onnx.ValueInfoProto) -> int:
    return len(value.type.tensor_type.shape.dim)


def _joined(first: onnx.ModelProto, second: onnx.ModelProto) -> onnx.ModelProto:
    """Both graphs as one, the outputs of the first being the inputs of the second."""
    first = compose.add_prefix(first, "first/")
    second = compose.add_prefix(second, "second/")
    pairs = [
        (output.name, source.name)
        for output, source in zip(first.graph.output, second.graph.input, strict=True)
    ]
    first.ir_version = second.ir_version = max(first.ir_version, second.ir_version)
    merged: onnx.ModelProto = compose.merge_models(first, second, io_map=pairs)
    return merged


def _modern(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the graph in an opset that torch writes as well."""
    if opset_of(graph) >= _OLDEST_OPSET:
        return copy.deepcopy(graph)
    try:
        converted: onnx.ModelProto = version_converter.convert_version(graph, _OLDEST_OPSET)
    except Exception as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise GraphError(
            f"ONNX: opset {opset_of(graph)} cannot be converted to {_OLDEST_OPSET}: {reason}"
        ) from error
    return converted
