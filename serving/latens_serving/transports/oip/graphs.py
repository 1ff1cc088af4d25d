"""The two graphs of a bundle as models of the protocol: names, inputs, outputs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from latens.oip import open_inference_pb2 as oip
from latens_serving.bundle.spec import ModelSpec
from latens_serving.errors import ModelNotFoundError

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"
_TYPES = {"FP32": oip.TYPE_FP32, "INT64": oip.TYPE_INT64}


class Graph(Enum):
    """Which half of a bundle; the value is the suffix of its model name."""

    ENCODER = "encoder"
    DECODER = "decoder"


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output: its name, the shape of one row, and its element type."""

    name: str
    row_shape: tuple[int, ...]
    """-1 stands for a free axis."""
    datatype: str = "FP32"
    """`FP32`, or `INT64` for codes."""


def model_name(bundle: str, graph: Graph) -> str:
    return f"{bundle}-{graph.value}"


def split_name(name: str) -> tuple[str, Graph]:
    """The bundle and the graph that a model's name means.

    Raises:
        ModelNotFoundError: it names neither an encoder nor a decoder.
    """
    for graph in Graph:
        bundle = name.removesuffix(f"-{graph.value}")
        if bundle and bundle != name:
            return bundle, graph
    raise ModelNotFoundError(
        f"no model {name[:80]!r}: names end in -encoder or -decoder; RepositoryIndex lists them"
    )


def input_of(spec: ModelSpec, graph: Graph) -> TensorFacts:
    """The input; a conditional model's rows carry their labels as the graphs take them."""
    if graph is Graph.ENCODER:
        return TensorFacts(spec.data_field, _input_sizes(spec, spec.data_shape))
    shape = _input_sizes(spec, spec.latent_shape)
    return TensorFacts(spec.latent_field, shape, _latent_datatype(spec))


def outputs_of(spec: ModelSpec, graph: Graph) -> tuple[TensorFacts, ...]:
    if graph is Graph.DECODER:
        return (TensorFacts(spec.data_field, _sizes(spec.data_shape)),)
    shape, datatype = _sizes(spec.latent_shape), _latent_datatype(spec)
    return tuple(TensorFacts(name, shape, datatype) for name in spec.encoded_fields)


def input_datatypes(spec: ModelSpec, graph: Graph) -> tuple[str, ...]:
    """The element types that requests may have."""
    if graph is Graph.ENCODER:
        return ("FP32", "UINT8") if spec.is_image else ("FP32",)
    return (_latent_datatype(spec),)


def _latent_datatype(spec: ModelSpec) -> str:
    return "INT64" if spec.has_codes else "FP32"


def _input_sizes(spec: ModelSpec, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return spec.graph_shape(_sizes(shape))


def _sizes(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(-1 if size is None else size for size in shape)


def metadata(
    name: str, versions: list[str], spec: ModelSpec, graph: Graph
) -> oip.ModelMetadataResponse:
    """The interface of a model; -1 stands for the batch."""

    def tensor(facts: TensorFacts) -> oip.ModelMetadataResponse.TensorMetadata:
        return oip.ModelMetadataResponse.TensorMetadata(
            name=facts.name, datatype=facts.datatype, shape=[-1, *facts.row_shape]
        )

    return oip.ModelMetadataResponse(
        name=name,
        versions=versions,
        platform=PLATFORM,
        inputs=[tensor(input_of(spec, graph))],
        outputs=[tensor(facts) for facts in outputs_of(spec, graph)],
        properties={
            "architecture": spec.architecture,
            "dataset": spec.dataset,
            "precision": spec.precision,
            "input_datatypes": ",".join(input_datatypes(spec, graph)),
        },
    )


def config(name: str, max_rows: int, spec: ModelSpec, graph: Graph) -> oip.ModelConfig:
    """The configuration of a model in Triton's terms."""
    given = input_of(spec, graph)
    return oip.ModelConfig(
        name=name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=max_rows,
        input=[
            oip.ModelInput(name=given.name, data_type=_TYPES[given.datatype], dims=given.row_shape)
        ],
        output=[
            oip.ModelOutput(name=facts.name, data_type=_TYPES[facts.datatype], dims=facts.row_shape)
            for facts in outputs_of(spec, graph)
        ],
        dynamic_batching=oip.ModelDynamicBatching(),
    )
