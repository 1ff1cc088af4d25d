"""The separated attribute predictability (Kumar et al. 2018, arXiv:1711.00848, section 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier

from latens_training.data.sprites import ORDERED
from latens_training.metrics.disentanglement.protocol import Codes, Protocol, gap


def score(codes: Codes, protocol: Protocol) -> NDArray[np.float64]:
    """By factor: how far the best single unit predicts it better than the second; 0 to 1.

    For a factor with an order, the share of its variance that a line through one unit explains;
    for shapes, the balanced accuracy of the best thresholds on one unit, on unseen images. This is
    the paper's way; disentanglement_lib takes linear support vector machines for all. Inactive
    units predict nothing.
    """
    generator = np.random.default_rng(protocol.seed)
    means, factors, test_means, test_factors = codes.two_samples(
        protocol.points, protocol.test_points, generator
    )
    predicted = np.zeros((means.shape[1], factors.shape[1]))
    for unit in np.flatnonzero(codes.active):
        for place, ordered in enumerate(ORDERED):
            if ordered:
                predicted[unit, place] = explained(means[:, unit], factors[:, place])
                continue
            predicted[unit, place] = separated(
                means[:, unit], factors[:, place], test_means[:, unit], test_factors[:, place]
            )
    return gap(predicted)


def explained(unit: NDArray[np.float64], factor: NDArray[np.int64]) -> float:
    """The squared correlation of a unit with a factor's values."""
    if np.ptp(factor) == 0 or np.ptp(unit) == 0:
        return 0.0
    return float(np.corrcoef(unit, factor)[0, 1] ** 2)


def separated(
    unit: NDArray[np.float64],
    factor: NDArray[np.int64],
    test_unit: NDArray[np.float64],
    test_factor: NDArray[np.int64],
) -> float:
    """Balanced accuracy of thresholds on one unit, one interval a class."""
    classes = len(np.unique(factor))
    if classes < 2:
        return 0.0
    tree = DecisionTreeClassifier(max_leaf_nodes=classes, class_weight="balanced", random_state=0)
    tree.fit(unit[:, None], factor)
    return float(balanced_accuracy_score(test_factor, tree.predict(test_unit[:, None])))
