"""The FactorVAE score (Kim and Mnih 2018, arXiv:1802.05983, section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latens_training.data.sprites import Grid
from latens_training.metrics.disentanglement.protocol import Codes, Protocol

_VOTES_AT_ONCE = 1000


def score(codes: Codes, protocol: Protocol) -> float:
    """Accuracy of telling which factor was held still from which unit varied least; 0 to 1.

    A vote is a batch of images alike in one factor at random; the unit of least variance, relative
    to its variance over all images, votes for that factor. Units that are inactive do not vote, and
    without an active one the score is that of guessing the commonest factor.
    """
    generator = np.random.default_rng(protocol.seed)
    counts = np.zeros((codes.means.shape[1], len(codes.grid.sizes)))
    np.add.at(counts, _votes(codes, protocol.votes, protocol.vote_images, generator), 1)
    verdicts = counts.argmax(axis=1)
    units, factors = _votes(codes, protocol.test_votes, protocol.vote_images, generator)
    return float((verdicts[units] == factors).mean())


def _votes(
    codes: Codes, count: int, images: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The unit [count] that varied least and the factor [count] that was held still."""
    scale = np.where(codes.active, codes.means.std(axis=0), np.inf)
    factors = generator.integers(len(codes.grid.sizes), size=count)
    units = []
    for start in range(0, count, _VOTES_AT_ONCE):
        index = _alike(codes.grid, factors[start : start + _VOTES_AT_ONCE], images, generator)
        spread = (codes.means[index].std(axis=1, ddof=1) / scale).astype(np.float64)
        spread[:, ~codes.active] = np.inf
        units.append(spread.argmin(axis=1))
    return np.concatenate(units), factors


def _alike(
    grid: Grid, factors: NDArray[np.int64], images: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Indices [votes, images] of images drawn at random but for the vote's factor [votes]."""
    values = [generator.integers(size, size=(len(factors), images)) for size in grid.sizes]
    for place, column in enumerate(values):
        still = factors == place
        column[still] = column[still, :1]
    return np.asarray(np.ravel_multi_index(tuple(values), grid.sizes))
