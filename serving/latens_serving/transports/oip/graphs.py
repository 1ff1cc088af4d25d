"""The two graphs of a bundle as models of the protocol: names, inputs, outputs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from latens.oip import open_inference_pb2 as oip
from latens_serving.bundle.schema import LatentContract, Posterior
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


def input_of(contract: LatentContract, graph: Graph) -> TensorFacts:
    if graph is Graph.ENCODER:
        return TensorFacts("images", contract.image_shape)
    return TensorFacts("latents", contract.latent_shape)


def outputs_of(contract: LatentContract, graph: Graph) -> tuple[TensorFacts, ...]:
    if graph is Graph.DECODER:
        return (TensorFacts("images", contract.image_shape),)
    is_deterministic = contract.posterior is Posterior.DETERMINISTIC
    heads = ["mean"] if is_deterministic else ["mean", "log_var"]
    return tuple(TensorFacts(head, contract.latent_shape) for head in heads)


def metadata(
    name: str, versions: list[str], contract: LatentContract, graph: Graph
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
        inputs=[tensor(input_of(contract, graph))],
        outputs=[tensor(facts) for facts in outputs_of(contract, graph)],
        properties={
            "architecture": contract.architecture,
            "dataset": contract.dataset,
            "precision": contract.precision,
            "input_datatypes": "FP32,UINT8" if graph is Graph.ENCODER else "FP32",
        },
    )


def config(name: str, max_rows: int, contract: LatentContract, graph: Graph) -> oip.ModelConfig:
    """The configuration of a model in Triton's terms."""
    given = input_of(contract, graph)
    return oip.ModelConfig(
        name=name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=max_rows,
        input=[oip.ModelInput(name=given.name, data_type=oip.TYPE_FP32, dims=given.row_shape)],
        output=[
            oip.ModelOutput(name=facts.name, data_type=oip.TYPE_FP32, dims=facts.row_shape)
            for facts in outputs_of(contract, graph)
        ],
        dynamic_batching=oip.ModelDynamicBatching(),
    )
