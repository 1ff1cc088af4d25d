"""Two ONNX files as the source of a bundle: an encoder and a decoder, with a card for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from latens_export.errors import GraphError, SourceError, UsageError
from latens_export.graphs.onnx_files import OnnxDecoder, OnnxModule
from latens_export.sources.card import Card
from latens_serving.bundle.spec import Modality, Posterior

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIMUM_FOLDERS = ("vae_encoder", "vae_decoder")
GRAPH_FILE = "model.onnx"
RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
_RANGES = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0)}
_NAMES = {1: ["features"], 2: ["channels", "time"], 3: ["channels", "height", "width"]}
_MODALITIES = {1: Modality.TABULAR, 2: Modality.AUDIO, 3: Modality.IMAGE}
_NOT_FOUND, _BAD_DATA = 3, 5


class OnnxPair(NamedTuple):
    """What two files hold."""

    encoder: OnnxModule
    decoder: OnnxDecoder
    card: Card
    """What the graphs say."""
    parameter_count: int


def find_pair(paths: Sequence[Path]) -> tuple[Path, Path]:
    """The two files: as given, or those of a folder as optimum writes it.

    Raises:
        SourceError: a file is missing.
        UsageError: neither two files nor one folder were given.
    """
    if len(paths) == 1 and paths[0].is_dir():
        encoder, decoder = (paths[0] / part / GRAPH_FILE for part in OPTIMUM_FOLDERS)
    elif len(paths) == 2:
        encoder, decoder = paths
    else:
        raise UsageError(
            "expected ENCODER.onnx and DECODER.onnx, or a folder with vae_encoder/ and vae_decoder/"
        )
    for path in (encoder, decoder):
        if not path.is_file():
            raise SourceError(f"no such file: {path}", _NOT_FOUND)
    return encoder, decoder


def load_pair(encoder: Path, decoder: Path, given: Card) -> OnnxPair:
    """Reads two graphs, and what they say of their axes.

    Raises:
        SourceError: a file is no ONNX graph, or keeps weights outside its folder.
        GraphError: a graph fixes its batch, has several inputs, or draws random numbers.
    """
    graphs = [_read(encoder), _read(decoder)]
    for what, graph in zip(("encoder", "decoder"), graphs, strict=True):
        _require_usable(what, graph)
    count = sum(_size(tensor) for graph in graphs for tensor in graph.graph.initializer)
    card = given.over(_card(graphs[0], graphs[1]))
    return OnnxPair(OnnxModule(graphs[0]), OnnxDecoder(graphs[1]), card, count)


def _read(path: Path) -> onnx.ModelProto:
    """A graph with its external data, which must lie in the folder of the file."""
    try:
        graph = onnx.load(str(path))
        onnx.checker.check_model(graph)
    except (DecodeError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SourceError(f"{path}: {reason}", _BAD_DATA) from error
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}", _BAD_DATA) from error
    return graph


def _require_usable(what: str, graph: onnx.ModelProto) -> None:
    fixed_inputs = {tensor.name for tensor in graph.graph.initializer}
    inputs = [value for value in graph.graph.input if value.name not in fixed_inputs]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs)
        raise GraphError(f"{what}: expected a graph of one input, got {len(inputs)}: {names}")
    most = 2 if what == "encoder" else 1
    if len(graph.graph.output) > most:
        names = ", ".join(value.name for value in graph.graph.output)
        raise GraphError(f"{what}: expected at most {most} outputs, got {names}")
    latents = graph.graph.output if what == "encoder" else inputs
    for value in (*inputs, *graph.graph.output):
        element = value.type.tensor_type.elem_type
        is_code = element == onnx.TensorProto.INT64 and value in latents
        if element != onnx.TensorProto.FLOAT and not is_code:
            raise GraphError(f"{what}: {value.name}: expected float32, or int64 for codes")
    batch = inputs[0].type.tensor_type.shape.dim[0]
    if not batch.dim_param:
        raise GraphError(
            f"{what}: the graph fixes its batch size to {batch.dim_value}; export it with a free "
            "axis 0 (dynamic_axes or dynamic_shapes of torch.onnx.export)"
        )
    for node in graph.graph.node:
        if node.op_type in RANDOM:
            raise GraphError(
                f"the {what} draws random numbers ({node.op_type} {node.name}); it must give mean "
                "and log_var, or z, without sampling: the server draws, by the caller's seed"
            )


def _card(encoder: onnx.ModelProto, decoder: onnx.ModelProto) -> Card:
    """What the graphs themselves say: sizes that are fixed, posterior, range of a last operator.

    A free size has no multiple in a graph, so the card must say it.
    """
    data, latent = _sizes(encoder.graph.input[0]), _sizes(decoder.graph.input[0])
    said: dict[str, Any] = {
        "modality": _MODALITIES.get(len(data), Modality.OTHER),
        "posterior": Posterior.DETERMINISTIC
        if len(encoder.graph.output) == 1
        else Posterior.DIAGONAL_GAUSSIAN,
    }
    for field, sizes in (("data", data), ("latent", latent)):
        if all(sizes):
            names = _NAMES.get(len(sizes)) or [f"axis{place}" for place in range(len(sizes))]
            said[field] = dict(zip(names, sizes, strict=True))
    if decoder.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT64:
        said["posterior"] = Posterior.DETERMINISTIC
    makers = {name: node.op_type for node in decoder.graph.node for name in node.output}
    found = _RANGES.get(makers.get(decoder.graph.output[0].name, ""))
    if found is not None:
        said["graph_range"] = found
    return Card(**said)


def _sizes(value: onnx.ValueInfoProto) -> list[int]:
    """The sizes of a row, 0 for a free one."""
    return [size.dim_value for size in value.type.tensor_type.shape.dim[1:]]


def _size(tensor: onnx.TensorProto) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count
