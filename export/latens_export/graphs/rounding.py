"""Networks that compute as graphs of a lower precision will."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from latens_export.network import Network

_MANTISSA_BITS_DROPPED = 13  # float32 has 23, TF32 10
_PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd)  # noqa: SLF001 - all convolutions' one ancestor


class HalfPrecision(nn.Module):
    """A network that computes in float16 between float32 inputs and outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).half()

    def forward(self, inputs: Tensor) -> Any:
        """Runs the network; None among its outputs stays None."""
        outputs = self.network(inputs.half())
        if isinstance(outputs, Tensor):
            return outputs.float()
        return tuple(None if output is None else output.float() for output in outputs)


def as_tf32(model: Network) -> Network:
    """A copy of the network that rounds what it multiplies as a GPU's TF32 does.

    Products of TF32 are exact in float32 and summed in it, so that rounding both factors of each
    product is all the difference there is.
    """
    model = copy.deepcopy(model)
    for layer in (*model.encoder.modules(), *model.decoder.modules()):
        if isinstance(layer, _PRODUCTS):
            layer.weight.data = rounded_to_tf32(layer.weight.data)
            layer.register_forward_pre_hook(_round_inputs)
    return model


def rounded_to_tf32(values: Tensor) -> Tensor:
    """float32 values rounded to the nearest with 10 bits of mantissa."""
    half = 1 << (_MANTISSA_BITS_DROPPED - 1)
    bits = values.contiguous().view(torch.int32) + half
    return (bits >> _MANTISSA_BITS_DROPPED << _MANTISSA_BITS_DROPPED).view(torch.float32)


def _round_inputs(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(rounded_to_tf32(tensor) for tensor in inputs)
