"""Modularity (Ridgeway and Mozer 2018, arXiv:1802.05312, section 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latens_training.metrics.disentanglement.mig import information
from latens_training.metrics.disentanglement.protocol import Codes, Factors


def modularity(codes: Codes, factors: Factors, bins: int = 20) -> float:
    """How far each unit informs of one factor only, a mean over the units; 0 to 1.

    As disentanglement_lib computes it: one minus the squared information with further factors over
    the largest such sum. A unit that informs of none counts as 0.

    Args:
        codes: `[n, units]`.
        factors: `[n, factors]`, at least two.
        bins: per code for its mutual information with a factor.
    """
    return modularity_of(information(codes, factors, bins))


def modularity_of(shared: NDArray[np.float64]) -> float:
    """The modularity of mutual informations `[units, factors]`, nats."""
    squares = np.square(shared)
    best = squares.max(axis=1)
    informs = best > 0
    further = squares.sum(axis=1) - best
    largest = best * (shared.shape[1] - 1)
    scores = np.zeros(len(shared))
    scores[informs] = 1 - further[informs] / largest[informs]
    return float(scores.mean())
