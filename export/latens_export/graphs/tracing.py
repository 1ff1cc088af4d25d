"""The two ONNX graphs of an autoencoder: an encoder and a decoder, each one file in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latens_export.folding import FoldedDecoder, FoldedEncoder
from latens_export.graphs.exporting import OPSET, Tracing
from latens_export.graphs.onnx_files import OnnxModule, folded_decoder, folded_encoder
from latens_export.graphs.opset import with_quickest_opset
from latens_serving.bundle.spec import Posterior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from latens_export.network import Network
    from latens_serving.bundle.axes import Axis


def encoder_graph(network: Network, *, opset: int | None = OPSET) -> bytes:
    """The encoder as ONNX: `images` to `mean` and `log_var` (no `log_var` if deterministic).

    Without an opset, the one whose graph runs quickest is taken.
    """
    if isinstance(network.encoder, OnnxModule):
        return folded_encoder(network.encoder, network.spec, network.folding)
    module = FoldedEncoder(network.encoder, network.folding)
    deterministic = network.spec.posterior is Posterior.DETERMINISTIC
    names = ["mean"] if deterministic else ["mean", "log_var"]
    return _graph(module, network.spec.data_axes, "images", names, opset)


def decoder_graph(network: Network, *, opset: int | None = OPSET) -> bytes:
    """The decoder as ONNX: `latents` to `images`; see `encoder_graph`."""
    if isinstance(network.decoder, OnnxModule):
        return folded_decoder(network.decoder, network.spec, network.folding)
    module = FoldedDecoder(network.decoder, network.folding)
    return _graph(module, network.spec.latent_sizes, "latents", ["images"], opset)


def _graph(
    module: nn.Module, axes: Sequence[Axis], source: str, names: list[str], opset: int | None
) -> bytes:
    tracing = Tracing(module, axes, source, names)
    return tracing.graph(opset) if opset else with_quickest_opset(tracing.graph, axes)
