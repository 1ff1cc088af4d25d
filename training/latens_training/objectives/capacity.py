"""Capacity annealing (Burgess et al., "Understanding disentangling in beta-VAE", 2018)."""

from __future__ import annotations

from dataclasses import dataclass

from latens_training.objectives.batch import Batch, Terms


@dataclass(frozen=True)
class Capacity:
    """Reconstruction + gamma |KL - C|, where C rises linearly (equation 8, on each image's KL).

    Attributes:
        gamma: the weight of the distance.
        capacity: the last C, nats.
        capacity_epochs: epochs over which C rises from 0.
    """

    gamma: float
    capacity: float
    capacity_epochs: float

    def __call__(self, batch: Batch) -> Terms:
        target = self.capacity * min(1.0, batch.epoch / self.capacity_epochs)
        distance = (batch.kl - target).abs()
        loss = batch.reconstruction.sum() + self.gamma * distance.sum()
        return batch.terms(loss, capacity=batch.kl.new_full((len(batch.kl),), target))
