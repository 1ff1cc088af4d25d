"""One protocol for all scores: how many points, which codes, which random numbers.

The numbers follow Locatello et al. (2019, arXiv:1811.12359, appendix C; disentanglement_lib) except
where a module says otherwise. Codes are the posterior's means of the images of the whole factor
grid, computed once; every score draws its points from them, with a generator seeded alike for each
model. Units whose mean varies by no more than 0.01 are inactive and count as carrying nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from latens_training.metrics.evaluation import ACTIVE_VARIANCE

if TYPE_CHECKING:
    from latens_training.data.sprites import Grid, Sprites
    from latens_training.models.autoencoder import Autoencoder

_BLOCK = 2048


@dataclass(frozen=True)
class Protocol:
    """Sizes of the samples that the scores are computed from."""

    points: int = 10_000
    """Images that a score is fitted on; drawn without replacement if there are enough."""
    test_points: int = 5_000
    """Further images that fitted classifiers are judged on."""
    votes: int = 10_000
    """Votes that the FactorVAE score's classifier learns from."""
    test_votes: int = 5_000
    vote_images: int = 64
    """Images a vote, alike in one factor."""
    bins: int = 20
    """Bins of a coordinate for its mutual information with a factor."""
    trees: int = 10
    """Trees of each random forest of DCI."""
    seed: int = 0


@dataclass(frozen=True)
class Codes:
    """Where a model puts every image of a grid.

    Attributes:
        grid: the factor grid.
        means: float64 [len(grid), L], the posterior's means, in the order of the grid.
    """

    grid: Grid
    means: NDArray[np.float64]

    @property
    def active(self) -> NDArray[np.bool_]:
        """Which units vary at all over the images, [L]."""
        return np.asarray(self.means.var(axis=0) > ACTIVE_VARIANCE)

    def sample(
        self, count: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Codes [count, L] of random images and their factors [count, 5]."""
        size = len(self.grid)
        index = generator.choice(size, count, replace=count > size)
        return self.means[index], self.grid.factors(index)

    def two_samples(
        self, first: int, second: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Two samples that share no image; each smaller where the grid has not enough."""
        size = len(self.grid)
        share = min(1.0, size / (first + second))
        order = generator.permutation(size)
        cut, end = int(first * share), int(first * share) + int(second * share)
        fit, test = order[:cut], order[cut:end]
        return (
            self.means[fit],
            self.grid.factors(fit),
            self.means[test],
            self.grid.factors(test),
        )


@torch.inference_mode()
def encode_grid(model: Autoencoder, sprites: Sprites) -> Codes:
    """The codes of all images of a grid; the model and the images on one device."""
    device = sprites.canvases.device
    parts = [
        model.encode(sprites[index.to(device)].float().div_(255))[0].flatten(1).cpu()
        for index in torch.arange(len(sprites)).split(_BLOCK)  # type: ignore[no-untyped-call]
    ]
    return Codes(sprites.grid, torch.cat(parts).double().numpy())


def gap(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the best unit is ahead of the second, by factor: [L, factors] to [factors]."""
    if len(scores) < 2:
        return np.asarray(scores[0])
    ranked = np.sort(scores, axis=0)
    return np.asarray(ranked[-1] - ranked[-2])
