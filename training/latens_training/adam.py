"""Adam, with little but arithmetic in a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


class _Moments(NamedTuple):
    """What a step changes, as the fused kernel takes it; one tensor a parameter."""

    parameters: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]


class Adam(torch.optim.Adam):
    """torch's fused Adam (Kingma and Ba 2015), bit for bit.

    Its step collects, sorts and checks the parameters and their moments each time, 3 to 7% of a
    step of the article's network on a CPU. `update` does so once there.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        held = list(parameters)
        super().__init__(held, learning_rate, fused=held[0].device.type != "mps")
        self._on_cpu = held[0].device.type == "cpu"
        self._moments: _Moments | None = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Replaces the moments."""
        super().load_state_dict(state_dict)
        self._moments = None

    @torch.no_grad()
    def update(self) -> None:
        """A step by the gradients of all parameters."""
        if not self._on_cpu or self._moments is None:
            self.step()
            self._moments = self._collected()
            return
        parameters, first, second, steps = self._moments
        (group,) = self.param_groups
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            first,
            second,
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=0.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _collected(self) -> _Moments:
        (group,) = self.param_groups
        parameters: list[Tensor] = group["params"]
        states = [self.state[parameter] for parameter in parameters]
        return _Moments(
            parameters,
            *([state[part] for state in states] for part in ("exp_avg", "exp_avg_sq", "step")),
        )
