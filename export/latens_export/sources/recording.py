"""Which operators a network runs: whether it draws random numbers, and what its last one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from latens_export.errors import GraphError
from latens_export.folding import parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latens_serving.bundle.spec import Range

ROWS = 2
"""Of a batch that is only traced."""

_LAST = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_SAME_VALUES = {"view", "_unsafe_view", "reshape", "clone", "contiguous", "slice", "unflatten"}


def require_deterministic(encoder: nn.Module, decoder: nn.Module, shape: Sequence[int]) -> None:
    """Refuses modules that draw random numbers: equal calls must have equal answers.

    Raises:
        GraphError: names the operator.
    """
    with torch.no_grad(), _Recorder() as recorder:
        latent = parts_of(on_meta(encoder, torch.empty(ROWS, *shape, device="meta")))[0]
        in_encoder = list(recorder.random)
        on_meta(decoder, latent)
    if recorder.random:
        what = "encoder" if in_encoder else "decoder"
        raise GraphError(
            f"the {what} draws random numbers ({recorder.random[0]}); encode must return mean and "
            "log_var, or z, without sampling: the server draws, by the caller's seed"
        )


def last_range(
    decoder: nn.Module, latent: Sequence[int], dtype: torch.dtype = torch.float32
) -> Range | None:
    """The range of the decoder's last operator, a sigmoid or tanh; None for any other."""
    with torch.no_grad(), _Recorder() as recorder:
        decoded = on_meta(decoder, torch.empty(ROWS, *latent, device="meta", dtype=dtype))
    name, source = recorder.made.get(id(decoded), ("", None))
    while name in _SAME_VALUES and source is not None:
        name, source = recorder.made.get(id(source), ("", None))
    return _LAST.get(name)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types it not
    """Notes which operator made each tensor, and operators that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: dict[int, tuple[str, Any]] = {}
        self.random: list[str] = []
        self.alive: list[Any] = []  # so that no id is given twice

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        name = function.name().removeprefix("aten::").split(".")[0]
        if torch.Tag.nondeterministic_seeded in function.tags:
            self.random.append(name)
        self.alive.append(output)
        self.made[id(output)] = (name, args[0] if args else None)
        return output


def on_meta(module: nn.Module, data: Tensor) -> Any:
    """Runs a module with its weights replaced by tensors without values."""
    state = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }
    with torch.device("meta"):
        return torch.func.functional_call(module, state, (data,), tie_weights=True)
