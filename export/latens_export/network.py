"""The network that is exported: an encoder, a decoder, and the spec of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latens_export.folding import FoldedDecoder, FoldedEncoder, Folding

if TYPE_CHECKING:
    from latens_serving.bundle.spec import ModelSpec


class Network(nn.Module):
    """An encoder and a decoder that know nothing of each other, and what callers know of them.

    Attributes:
        encoder: data in `spec.graph_range` to `z`, `(mean, log_var)` or `(mean, None)`.
        decoder: latents to data in `spec.graph_range`, or to their logits.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, spec: ModelSpec, *, logits: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.spec = spec
        self.folding = Folding.of(spec, logits=logits)
        self.eval()

    def encode(self, data: Tensor) -> tuple[Tensor, Tensor | None]:
        """What callers of Encode get: mean and log_var; None if deterministic."""
        mean, *log_var = FoldedEncoder(self.encoder, self.folding)(data)
        return mean, log_var[0] if log_var else None

    def decodable(self, latents: Tensor, data: Tensor) -> Tensor:
        """Latents of data as `decode` takes them: of a conditional model with the data's labels."""
        if self.spec.label_count is None:
            return latents
        return torch.cat([latents, data[:, -1:].flatten(1)[:, :1]], 1)

    def decode(self, latents: Tensor) -> Tensor:
        """What callers of Decode get."""
        data: Tensor = FoldedDecoder(self.decoder, self.folding)(latents)
        return data
