"""The mutual information gap (Chen et al. 2018, arXiv:1802.04942, equation 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latens_training.metrics.disentanglement.protocol import Codes, Protocol, gap


def score(codes: Codes, protocol: Protocol) -> NDArray[np.float64]:
    """By factor: the gap of mutual information between the two best units, over the entropy.

    Computed on means in equal bins, as disentanglement_lib does, and not on samples of the
    posterior. The MIG is the mean over the factors, `shape` among them; from 0 to 1.
    """
    generator = np.random.default_rng(protocol.seed)
    means, factors = codes.sample(protocol.points, generator)
    information = np.zeros((means.shape[1], factors.shape[1]))
    for unit in np.flatnonzero(codes.active):
        binned = in_equal_bins(means[:, unit], protocol.bins)
        information[unit] = [mutual_information(binned, values) for values in factors.T]
    entropies = np.array([entropy(values) for values in factors.T])
    return np.asarray(gap(information) / entropies)


def in_equal_bins(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of each value, of `bins` equal ones between the least and the largest."""
    low, high = values.min(), values.max()
    width = (high - low) / bins or 1.0
    return np.asarray(np.minimum((values - low) / width, bins - 1), dtype=np.int64)


def mutual_information(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Of two discrete variables, from their joint counts; nats."""
    joint = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(joint, (first, second), 1.0 / len(first))
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def entropy(values: NDArray[np.int64]) -> float:
    """Of a discrete variable; nats."""
    shares = np.bincount(values) / len(values)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
