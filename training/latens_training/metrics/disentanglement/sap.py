"""The separated attribute predictability (Kumar et al. 2018, arXiv:1711.00848, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score
from sklearn.tree import DecisionTreeClassifier

from latens_training.metrics.disentanglement.protocol import Codes, Factors, active_units, gap


def separated_predictability(
    codes: Codes,
    factors: Factors,
    test_codes: Codes,
    test_factors: Factors,
    ordered: Sequence[bool],
) -> NDArray[np.float64]:
    """By factor: how much better the best single unit predicts it than the second; 0 to 1.

    For a factor with an order, the share of its variance that a line through one unit explains;
    for others, the balanced accuracy of the best thresholds on one unit, on unseen images. This is
    the paper's way; disentanglement_lib takes linear support vector machines for all. Inactive
    units predict nothing.

    Args:
        codes: `[n, units]`, which the predictors are fitted on.
        factors: `[n, factors]`.
        test_codes: `[m, units]`, unseen.
        test_factors: `[m, factors]`.
        ordered: which factors have an order, `[factors]`.
    """
    predicted = np.zeros((codes.shape[1], factors.shape[1]))
    for unit in np.flatnonzero(active_units(codes)):
        for place, has_order in enumerate(ordered):
            if has_order:
                predicted[unit, place] = explained(codes[:, unit], factors[:, place])
                continue
            predicted[unit, place] = separated(
                codes[:, unit], factors[:, place], test_codes[:, unit], test_factors[:, place]
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
    """The balanced accuracy of thresholds on one unit, one interval per class."""
    classes = len(np.unique(factor))
    if classes < 2:
        return 0.0
    tree = DecisionTreeClassifier(max_leaf_nodes=classes, class_weight="balanced", random_state=0)
    tree.fit(unit[:, None], factor)
    return float(balanced_accuracy_score(test_factor, tree.predict(test_unit[:, None])))
