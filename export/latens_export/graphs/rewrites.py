"""Rewrites of a network that compute the same function faster in ONNX Runtime."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator


def rewritten(module: nn.Module, example: Tensor) -> nn.Module:
    """A copy of the module with every exact rewrite applied; the module itself is not changed.

    Args:
        module: the network, in eval mode.
        example: an input it takes, from which the sizes between its layers are learnt.
    """
    module = copy.deepcopy(module)
    for name in list(_pixel_convolutions(module, example)):
        parent_name, _, child_name = name.rpartition(".")
        convolution = module.get_submodule(name)
        assert isinstance(convolution, nn.ConvTranspose2d)
        replacement = linear_of_pixel_convolution(convolution)
        setattr(module.get_submodule(parent_name), child_name, replacement)
    return module


def linear_of_pixel_convolution(convolution: nn.ConvTranspose2d) -> nn.Sequential:
    """The matrix product that a transposed convolution of a 1 x 1 input is.

    With one input pixel no two taps of the kernel meet, so each output pixel is one row of the
    kernel times the input channels, whatever the stride. Run as a convolution, the whole kernel is
    read again for each image of a batch: the article's decoder is about twice as fast rewritten.
    """
    height, width = convolution.kernel_size
    linear = nn.Linear(
        convolution.in_channels,
        convolution.out_channels * height * width,
        bias=convolution.bias is not None,
    )
    with torch.no_grad():
        linear.weight.copy_(convolution.weight.flatten(1).t())
        if convolution.bias is not None:
            linear.bias.copy_(convolution.bias.repeat_interleave(height * width))
    shape = (convolution.out_channels, height, width)
    return nn.Sequential(nn.Flatten(1), linear, nn.Unflatten(1, shape)).eval()


def _pixel_convolutions(module: nn.Module, example: Tensor) -> Iterator[str]:
    """Names of the transposed convolutions that only ever see one input pixel."""
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def record(layer: nn.Module, args: tuple[Any, ...]) -> None:
        shapes[layer] = tuple(args[0].shape[2:])

    layers = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.ConvTranspose2d) and _has_plain_kernel(layer)
    }
    hooks = [layer.register_forward_pre_hook(record) for layer in layers.values()]
    with torch.inference_mode():
        module(example)
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        if shapes.get(layer) == (1, 1):
            yield name


def _has_plain_kernel(convolution: nn.ConvTranspose2d) -> bool:
    return (
        convolution.groups == 1
        and set(convolution.dilation) == {1}
        and set(convolution.padding) == {0}
        and set(convolution.output_padding) == {0}
    )
