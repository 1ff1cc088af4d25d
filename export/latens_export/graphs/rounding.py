"""Networks that compute as graphs of a lower precision will."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from latens_export.network import Network

_MANTISSA_BITS_DROPPED = 13  # float32 has 23, TF32 10
_PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd)  # noqa: SLF001 - all convolutions' one ancestor


class HalfPrecision(nn.Module):
    """A network that computes in float16 between float32 inputs and outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Any:
        """Runs the network; None among its outputs stays None."""
        outputs = self.network(inputs.half())
        if isinstance(outputs, Tensor):
            return outputs.float()
        return tuple(None if output is None else output.float() for output in outputs)


def in_half_precision(network: Network, kept: Collection[str]) -> Network:
    """A copy of the network in float16.

    Args:
        network: the network.
        kept: the layers that stay in float32, with all that is in them, by their names in the
            network. They take and give float32; the other layers take what comes to float16.
    """
    network = copy.deepcopy(network)
    stay = {inner for name in kept for inner in network.get_submodule(name).modules()}
    for layer in network.modules():
        if layer in stay:
            continue
        for parameter in layer.parameters(recurse=False):
            parameter.data = parameter.data.half()
        for name, buffer in layer.named_buffers(recurse=False):
            if buffer.is_floating_point():
                layer._buffers[name] = buffer.half()  # noqa: SLF001 - as nn.Module.half does
    for layer in network.modules():
        own = next(layer.parameters(recurse=False), None)
        if kept and own is not None:
            layer.register_forward_pre_hook(_inputs_as(own.dtype))
    network.encoder = HalfPrecision(network.encoder)
    network.decoder = HalfPrecision(network.decoder)
    return network


def _inputs_as(dtype: torch.dtype) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def converted(_layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
            for value in inputs
        )

    return converted


def as_tf32(network: Network) -> Network:
    """A copy of the network that rounds what it multiplies as a GPU's TF32 does.

    Products of TF32 are exact in float32 and summed in it, so that rounding both factors of each
    product is all the difference there is.
    """
    network = copy.deepcopy(network)
    for layer in network.modules():
        if isinstance(layer, _PRODUCTS):
            layer.weight.data = rounded_to_tf32(layer.weight.data)
            layer.register_forward_pre_hook(_round_inputs)
    return network


def rounded_to_tf32(values: Tensor) -> Tensor:
    """float32 values rounded to the nearest with 10 bits of mantissa."""
    half = 1 << (_MANTISSA_BITS_DROPPED - 1)
    bits = values.contiguous().view(torch.int32) + half
    return (bits >> _MANTISSA_BITS_DROPPED << _MANTISSA_BITS_DROPPED).view(torch.float32)


def _round_inputs(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(rounded_to_tf32(tensor) for tensor in inputs)
