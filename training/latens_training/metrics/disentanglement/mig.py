"""The mutual information gap (Chen et al. 2018, arXiv:1802.04942, equation 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score

from latens_training.metrics.disentanglement.protocol import Codes, Factors, active_units, gap


def mutual_information_gap(codes: Codes, factors: Factors, bins: int = 20) -> NDArray[np.float64]:
    """The gap of mutual information between the two best units over the entropy, by factor.

    Computed on codes in bins of equal width, as disentanglement_lib does, and not on samples of the
    posterior. The MIG is the mean over the factors, `shape` among them; from 0 to 1. Inactive units
    carry no information; neither does a factor of one value.
    """
    entropies = np.array([mutual_info_score(values, values) for values in factors.T])
    return np.asarray(gap(information(codes, factors, bins)) / np.where(entropies, entropies, 1))


def information(codes: Codes, factors: Factors, bins: int = 20) -> NDArray[np.float64]:
    """The mutual information of each unit and each factor, nats `[units, factors]`."""
    shared = np.zeros((codes.shape[1], factors.shape[1]))
    for unit in np.flatnonzero(active_units(codes)):
        binned = in_equal_bins(codes[:, unit], bins)
        shared[unit] = [mutual_info_score(values, binned) for values in factors.T]
    return shared


def in_equal_bins(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of each value, of `bins` bins of equal width between the least and the largest."""
    edges = np.histogram_bin_edges(values, bins)
    return np.asarray(np.digitize(values, edges[1:-1]), dtype=np.int64)
