"""The objectives by the name that `LossConfig.objective` gives them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from latens_training.config import LossConfig
from latens_training.models.autoencoder import ForwardOutput
from latens_training.objectives.elbo import elbo
from latens_training.objectives.iwae import iwae

Objective = Callable[[ForwardOutput, Tensor, LossConfig], dict[str, Tensor]]
"""Named terms of a batch, each summed over the images; `loss` is the one to minimise."""

OBJECTIVES: dict[str, Objective] = {"elbo": elbo, "iwae": iwae}
