"""The two graphs of a bundle as models of the protocol: names, inputs, outputs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from latens.oip import open_inference_pb2 as oip
from latens_serving.bundle.spec import ModelSpec, Posterior
from latens_serving.errors import ModelNotFoundError

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"


class Graph(Enum):
    """Which half of a bundle; the value is the suffix of its model name."""

    ENCODER = "encoder"
    DECODER = "decoder"


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output: its name and the shape of one row. All are FP32."""

    name: str
    row_shape: tuple[int, ...]
    """-1 stands for a free axis."""


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
    if graph is Graph.ENCODER:
        return TensorFacts("images", _sizes(spec.data_shape))
    return TensorFacts("latents", _sizes(spec.latent_shape))


def outputs_of(spec: ModelSpec, graph: Graph) -> tuple[TensorFacts, ...]:
    if graph is Graph.DECODER:
        return (TensorFacts("images", _sizes(spec.data_shape)),)
    is_deterministic = spec.posterior is Posterior.DETERMINISTIC
    heads = ["mean"] if is_deterministic else ["mean", "log_var"]
    return tuple(TensorFacts(head, _sizes(spec.latent_shape)) for head in heads)


def _sizes(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(-1 if size is None else size for size in shape)


def metadata(
    name: str, versions: list[str], spec: ModelSpec, graph: Graph
) -> oip.ModelMetadataResponse:
    """The interface of a model; -1 stands for the batch."""

    def tensor(facts: TensorFacts) -> oip.ModelMetadataResponse.TensorMetadata:
        return oip.ModelMetadataResponse.TensorMetadata(
            name=facts.name, datatype="FP32", shape=[-1, *facts.row_shape]
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
            "input_datatypes": "FP32,UINT8" if graph is Graph.ENCODER else "FP32",
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
        input=[oip.ModelInput(name=given.name, data_type=oip.TYPE_FP32, dims=given.row_shape)],
        output=[
            oip.ModelOutput(name=facts.name, data_type=oip.TYPE_FP32, dims=facts.row_shape)
            for facts in outputs_of(spec, graph)
        ],
        dynamic_batching=oip.ModelDynamicBatching(),
    )
