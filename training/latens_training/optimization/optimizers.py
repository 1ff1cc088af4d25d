"""The optimisers: Adam for the network, and one for the weights that an objective has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from latens_training.config import TrainConfig
    from latens_training.devices import Placement
    from latens_training.objectives.batch import Objective, Terms

_ADAM_BETA2 = 0.999
AUXILIARY_TERM = "auxiliary"


def build_optimizer(
    module: nn.Module, config: TrainConfig, device: torch.device
) -> torch.optim.Adam:
    """Adam (Kingma and Ba 2015); with a weight decay, AdamW (Loshchilov and Hutter 2019)."""
    kind = torch.optim.AdamW if config.weight_decay else torch.optim.Adam
    return kind(
        module.parameters(),
        config.learning_rate,
        betas=(config.adam_beta1, _ADAM_BETA2),
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
        fused=device.type != "mps",
    )


@dataclass(frozen=True)
class Auxiliary:
    """The weights of an objective, such as a discriminator, and their optimiser."""

    module: nn.Module
    optimizer: torch.optim.Adam
    placement: Placement

    @classmethod
    def of(
        cls, objective: Objective, config: TrainConfig, placement: Placement
    ) -> Auxiliary | None:
        """Of an objective; None if it has no weights."""
        if not isinstance(objective, nn.Module) or not any(
            parameter.requires_grad for parameter in objective.parameters()
        ):
            return None
        module = objective.to(placement.device)
        return cls(module, build_optimizer(module, config, placement.device), placement)

    def gradients(self, terms: Terms, scale: float) -> list[Tensor]:
        """The gradients of the term `auxiliary`, averaged over the processes."""
        found = torch.autograd.grad(
            terms[AUXILIARY_TERM] * scale, list(self.module.parameters()), retain_graph=True
        )
        if self.placement.world_size > 1:
            for gradient in found:
                dist.all_reduce(gradient)
                gradient.div_(self.placement.world_size)
        return list(found)

    def step(self, gradients: list[Tensor]) -> None:
        """Moves the objective's weights against these gradients alone."""
        for parameter, gradient in zip(self.module.parameters(), gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
