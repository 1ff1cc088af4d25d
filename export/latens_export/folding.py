"""What lies between a network and its callers: value range, scaling and packing of latents.

It becomes part of both graphs, so that callers send data in the spec's range and never need to
know a factor of the network. The spec records what was folded.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latens_serving.bundle.spec import Scaling

if TYPE_CHECKING:
    from latens_serving.bundle.spec import ModelSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Folding:
    """How data and latents of callers become those of the network, and back.

    Attributes:
        factor: of the data: the network's value is `factor * value + offset`.
        offset: see `factor`.
        bounds: the range that decoded data are clamped to; None for none.
        logits: whether the decoder gives logits, whose sigmoid is the data.
        scaling: of the latents.
    """

    factor: float = 1.0
    offset: float = 0.0
    bounds: tuple[float, float] | None = None
    logits: bool = False
    scaling: Scaling = dataclasses.field(default_factory=Scaling)

    @classmethod
    def of(cls, spec: ModelSpec, *, logits: bool) -> Folding:
        """What the spec says was folded.

        A range is a claim about the callers' data. A network may leave it, so its answers are
        clamped to it; a sigmoid needs no clamp.
        """
        scaling = spec.scaling or Scaling()
        if spec.data_range is None:
            return cls(logits=logits, scaling=scaling)
        low, high = spec.data_range
        first, last = spec.graph_range or spec.data_range
        factor = (last - first) / (high - low)
        bounds = None if logits else spec.data_range
        return cls(factor, first - factor * low, bounds, logits, scaling)

    @property
    def changes_data(self) -> bool:
        """Whether the network's range is another one than the callers'."""
        return (self.factor, self.offset) != (1.0, 0.0)

    @property
    def changes_latents(self) -> bool:
        return self.scaling != Scaling()


class DataToNetwork(nn.Module):
    """Data in the spec's range to what the encoder takes."""

    def __init__(self, folding: Folding) -> None:
        super().__init__()
        self.folding = folding

    def forward(self, data: Tensor) -> Tensor:
        if not self.folding.changes_data:
            return data
        return data * self.folding.factor + self.folding.offset


class NetworkToData(nn.Module):
    """What the decoder gives to data in the spec's range."""

    def __init__(self, folding: Folding) -> None:
        super().__init__()
        self.folding = folding

    def forward(self, decoded: Tensor) -> Tensor:
        folding = self.folding
        if folding.logits:
            return torch.sigmoid(decoded)
        if folding.changes_data:
            decoded = (decoded - folding.offset) / folding.factor
        return decoded if folding.bounds is None else decoded.clamp(*folding.bounds)


class NetworkToLatents(nn.Module):
    """The parameters of the posterior, as the encoder gives them, to those that callers get."""

    def __init__(self, folding: Folding) -> None:
        super().__init__()
        self.scaling = folding.scaling

    def forward(self, mean: Tensor, log_var: Tensor | None = None) -> tuple[Tensor, ...]:
        scale, shift, packing = self.scaling.scale, self.scaling.shift, self.scaling.packing
        if (scale, shift) != (1, 0):
            mean = (mean - shift) * scale
            log_var = None if log_var is None else log_var + 2 * math.log(scale)
        found = [mean] if log_var is None else [mean, log_var]
        if packing > 1:
            found = [functional.pixel_unshuffle(part, packing) for part in found]
        return tuple(found)


class LatentsToNetwork(nn.Module):
    """Latents of callers to what the decoder takes."""

    def __init__(self, folding: Folding) -> None:
        super().__init__()
        self.scaling = folding.scaling

    def forward(self, latents: Tensor) -> Tensor:
        scale, shift, packing = self.scaling.scale, self.scaling.shift, self.scaling.packing
        if packing > 1:
            latents = functional.pixel_shuffle(latents, packing)
        return latents / scale + shift if (scale, shift) != (1, 0) else latents


class FoldedEncoder(nn.Module):
    """Data in the spec's range to mean and, unless the posterior is deterministic, log_var."""

    def __init__(self, encoder: nn.Module, folding: Folding) -> None:
        super().__init__()
        self.before = DataToNetwork(folding)
        self.encoder = encoder
        self.after = NetworkToLatents(folding)

    def forward(self, data: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.after(*parts_of(self.encoder(self.before(data))))
        return found


class FoldedDecoder(nn.Module):
    """Latents to data in the spec's range."""

    def __init__(self, decoder: nn.Module, folding: Folding) -> None:
        super().__init__()
        self.before = LatentsToNetwork(folding)
        self.decoder = decoder
        self.after = NetworkToData(folding)

    def forward(self, latents: Tensor) -> Tensor:
        data: Tensor = self.after(self.decoder(self.before(latents)))
        return data


def parts_of(encoded: Any) -> tuple[Tensor, ...]:
    """What an encoder gave, `z`, `(mean, log_var)` or `(mean, None)`, as a tuple of tensors."""
    if isinstance(encoded, Tensor):
        return (encoded,)
    return tuple(part for part in encoded if part is not None)
