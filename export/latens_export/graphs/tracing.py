"""The two ONNX graphs of an autoencoder: an encoder and a decoder, each one file in memory."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnxscript.optimizer import fold_constants
from torch import Tensor, nn

from latens_export.errors import GraphError
from latens_export.graphs.rounding import HalfPrecision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latens_export.network import Network

OPSET = 20
BATCH_AXIS = "batch"

_MAX_BATCH = 2**20
_ANY_SIZE = 2**62  # of a weight that is computed from others


class PosteriorGraph(nn.Module):
    """Images [n, c, h, w] in [0, 1] to mean and, unless it is deterministic, log_var."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Runs the encoder."""
        return tuple(output for output in self.encoder(images) if output is not None)


class ImageGraph(nn.Module):
    """Latents [n, *latent_shape] to images [n, c, h, w] in [0, 1]."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor) -> Tensor:
        """Runs the decoder, and takes its logits to pixels."""
        return torch.sigmoid(self.decoder(latents))


def encoder_graph(model: Network, *, half: bool = False) -> bytes:
    """The encoder as ONNX: `images` to `mean` and `log_var` (no `log_var` if deterministic).

    With `half` it computes in float16, between a float32 input and float32 outputs.
    """
    example = torch.zeros(2, *model.image_shape)
    with torch.inference_mode():
        deterministic = model.encode(example)[1] is None
    names = ["mean"] if deterministic else ["mean", "log_var"]
    network = PosteriorGraph(HalfPrecision(model.encoder) if half else model.encoder)
    return to_onnx(network.eval(), example, "images", names)


def decoder_graph(model: Network, *, half: bool = False) -> bytes:
    """The decoder as ONNX: `latents` to `images`; see `encoder_graph` for `half`."""
    example = torch.zeros(2, *model.latent_shape)
    network = ImageGraph(HalfPrecision(model.decoder) if half else model.decoder)
    return to_onnx(network.eval(), example, "latents", ["images"])


def to_onnx(module: nn.Module, example: Tensor, input_name: str, output_names: list[str]) -> bytes:
    """A module of one input as a self-contained ONNX file whose axis 0 is free.

    The same weights give the same bytes on every machine: what the exporter writes of source files
    and stack frames is taken out.

    Raises:
        GraphError: the exporter cannot express the module, or needs a fixed batch.
    """
    batch = torch.export.Dim(BATCH_AXIS, min=1, max=_MAX_BATCH)
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                module,
                (example,),
                input_names=[input_name],
                output_names=output_names,
                dynamic_shapes=({0: batch},),
                opset_version=OPSET,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise GraphError(f"torch.onnx.export failed: {reason[0]}") from error
    assert program is not None
    # What a network computes from its weights alone is computed once, here.
    fold_constants(program.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    graph = _without_traces(program.model_proto)
    _require_free_batch(graph)
    return graph.SerializeToString(deterministic=True)


def _without_traces(graph: onnx.ModelProto) -> onnx.ModelProto:
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


def _require_free_batch(graph: onnx.ModelProto) -> None:
    for value in [*graph.graph.input, *graph.graph.output]:
        axis = value.type.tensor_type.shape.dim[0]
        if axis.dim_param != BATCH_AXIS:
            raise GraphError(f"{value.name}: the network fixes its batch size to {axis.dim_value}")


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
