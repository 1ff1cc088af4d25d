"""A moving average of a model's weights (Polyak and Juditsky 1992), with Adam's bias correction."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a model's weights over the steps."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = [parameter.detach() for parameter in model.parameters()]
        self._names = [name for name, _ in model.named_parameters()]
        self._decay = decay
        self.values = [weight.clone() for weight in self._weights]
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes the present weights in."""
        self.steps += 1
        # As in timm and EDM: early on, the average follows the weights at once.
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, self._weights, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the average for its weights within the context."""
        kept = [weight.clone() for weight in self._weights]
        with torch.no_grad():
            torch._foreach_copy_(self._weights, self.values)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, kept)

    def tensors(self) -> dict[str, Tensor]:
        """The average by the names of the weights, to be saved."""
        return dict(zip(self._names, self.values, strict=True))

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Continues from saved values.

        Raises:
            KeyError: a weight is missing.
        """
        for name, value in zip(self._names, self.values, strict=True):
            value.copy_(tensors[name])
        self.steps = steps
