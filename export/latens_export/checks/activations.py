"""Whether float16 can hold what a network computes: judged by its activations in float32.

ONNX Runtime computes a float16 graph in float32 on a CPU, so a graph that overflows on a GPU gives
the right answers here. The activations do not lie.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from latens_export.checks.inputs import values_of
from latens_export.errors import HalfRangeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from latens_export.network import Network

LARGEST_HALF = 65_504.0
HEADROOM = 2.0
"""Other data may give larger activations than the few that are tried, by this factor."""

_ROWS = 2


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types it not
    """Notes the module in which an operation gave a value that float16 may not hold."""

    def __init__(self, path: list[str], found: dict[str, float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.found = found

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        outputs = function(*args, **(kwargs or {}))
        _note(self.path[-1], outputs, self.found)
        return outputs


def layers_beyond_half(network: Network, batches: Sequence[Tensor]) -> dict[str, float]:
    """The layers whose values float16 may not hold, with the largest value of each.

    A layer is the innermost module in which an operation gave such a value, or was given it.

    Args:
        network: in float32.
        batches: real data, one batch per size.
    """
    found: dict[str, float] = {}
    path = [""]
    with torch.no_grad(), _entered(network, path, found), _Watch(path, found):
        for batch in batches:
            data = torch.from_numpy(values_of(batch[:_ROWS]))
            mean, _ = network.encode(data)
            network.decode(network.decodable(mean, data))
    return found


def require_finite(half: Network, batches: Sequence[Tensor], kept: dict[str, float]) -> None:
    """Runs a network in float16, in torch, and refuses it if an answer is not finite.

    Raises:
        HalfRangeError: it overflows, or little of it is in float16; the text names the layers.
    """
    smallest = min(batches, key=lambda batch: batch[0].numel())
    with torch.no_grad():
        data = torch.from_numpy(values_of(smallest[:1]))
        mean, log_var = half.encode(data)
        decoded = half.decode(half.decodable(mean, data))
        answers = [mean, decoded, *([] if log_var is None else [log_var])]
    if all(bool(answer.isfinite().all()) for answer in answers) and _is_mostly_half(half):
        return
    layers = ", ".join(f"{name or 'the network'} ({value:,.0f})" for name, value in kept.items())
    raise HalfRangeError(
        f"float16: the values of these layers are too large for it (the largest number is "
        f"{LARGEST_HALF:,.0f}): {layers or 'none of the inputs tried'}; "
        "export with --precision float32"
    )


def _is_mostly_half(network: Network) -> bool:
    parameters = list(network.parameters())
    half = sum(weights.numel() for weights in parameters if weights.dtype == torch.float16)
    return 2 * half >= sum(weights.numel() for weights in parameters)


@contextlib.contextmanager
def _entered(network: nn.Module, path: list[str], found: dict[str, float]) -> Iterator[None]:
    """Keeps the name of the module that is running at the end of `path`."""

    def enter(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            path.append(name)
            if next(module.parameters(recurse=False), None) is not None:  # else it is not cast
                with _disable_current_modes():
                    _note(name, inputs, found)

        return hook

    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        path.pop()

    handles = []
    for name, module in network.named_modules():
        if name:
            handles += [
                module.register_forward_pre_hook(enter(name)),
                module.register_forward_hook(leave),
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _note(name: str, values: Any, found: dict[str, float]) -> None:
    """Notes the largest of the values under a name, if float16 may not hold it."""
    for value in values if isinstance(values, (tuple, list)) else (values,):
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            largest = float(value.abs().max())
            if not largest * HEADROOM <= LARGEST_HALF:  # so that NaN counts
                found[name] = max(found.get(name, 0.0), largest)
