"""The two ONNX graphs of an autoencoder: an encoder and a decoder, each one file in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from latens_export.folding import FoldedDecoder, FoldedEncoder
from latens_export.graphs.exporting import OPSET, Tracing
from latens_export.graphs.onnx_files import OnnxModule, folded_decoder, folded_encoder
from latens_export.graphs.opset import with_quickest_opset

if TYPE_CHECKING:
    from latens_export.network import Network


def encoder_graph(network: Network, *, opset: int | None = OPSET) -> bytes:
    """The encoder as ONNX: `images` to `mean` and `log_var`, by the names of the spec.

    Without an opset, the one whose graph runs quickest is taken.
    """
    if isinstance(network.encoder, OnnxModule):
        return folded_encoder(network.encoder, network.spec, network.folding)
    module = FoldedEncoder(network.encoder, network.folding)
    spec = network.spec
    return _graph(
        Tracing(
            module,
            spec.graph_data_axes,
            spec.data_field,
            list(spec.encoded_fields),
            part="encoder",
        ),
        opset,
    )


def decoder_graph(network: Network, *, opset: int | None = OPSET) -> bytes:
    """The decoder as ONNX: `latents` to `images`; see `encoder_graph`."""
    if isinstance(network.decoder, OnnxModule):
        return folded_decoder(network.decoder, network.spec, network.folding)
    module = FoldedDecoder(network.decoder, network.folding)
    spec = network.spec
    dtype = torch.int64 if spec.has_codes else torch.float32
    return _graph(
        Tracing(
            module, spec.graph_latent_axes, spec.latent_field, [spec.data_field], dtype, "decoder"
        ),
        opset,
    )


def _graph(tracing: Tracing, opset: int | None) -> bytes:
    return tracing.graph(opset) if opset else with_quickest_opset(tracing.graph, tracing.axes)
