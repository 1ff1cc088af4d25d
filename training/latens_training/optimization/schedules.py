"""The learning rate over the epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latens_training.config import TrainConfig

_BURDA_STAGES = [3**stage for stage in range(8)]


def warmup_factor(config: TrainConfig, epoch: float) -> float:
    """The share of the learning rate after so many epochs, with the fraction of the current one.

    It is linear, and never 0, so that the first step counts.
    """
    if epoch >= config.warmup:
        return 1.0
    return max(epoch / config.warmup, 1e-3)


def learning_rate(config: TrainConfig, epoch: int) -> float:
    """The learning rate of an epoch, counted from 0, without its warm-up.

    `burda` are the stages of Burda et al. (2015), section 5: 3^i epochs at 10^(-i/7), scaled to
    the requested number of epochs (they used 3,280).
    """
    if config.schedule == "constant":
        return config.learning_rate
    share = epoch / config.epochs
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    reached = share * sum(_BURDA_STAGES)
    stage = next(i for i in range(8) if reached < sum(_BURDA_STAGES[: i + 1]))
    return config.learning_rate * 10 ** (-stage / 7)
