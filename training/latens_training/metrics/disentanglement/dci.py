"""Disentanglement, completeness and informativeness (Eastwood and Williams 2018, ICLR).

Importances are those of random forests, one of the two regressors of the paper, here as
classifiers of the factor's value, as in Locatello et al. (who boost trees instead, at a hundred
times the cost). Each split may use any unit, so that irrelevant units get no importance by lot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from latens_training.metrics.disentanglement.protocol import Codes, Protocol

_LEAF = 5
_TINY = 1e-12


def scores(codes: Codes, protocol: Protocol) -> dict[str, float]:
    """`dci_disentanglement`, `dci_completeness` and `dci_informativeness`, each from 0 to 1.

    Informativeness is the forests' mean accuracy on images that they have not seen.
    """
    generator = np.random.default_rng(protocol.seed)
    means, factors, test_means, test_factors = codes.two_samples(
        protocol.points, protocol.test_points, generator
    )
    importance = np.zeros((means.shape[1], factors.shape[1]))
    accuracy = np.zeros(factors.shape[1])
    active = codes.active
    for place in range(factors.shape[1] if active.any() else 0):
        forest = RandomForestClassifier(
            protocol.trees,
            max_features=None,
            min_samples_leaf=_LEAF,
            random_state=protocol.seed,
        )
        forest.fit(means[:, active], factors[:, place])
        importance[active, place] = forest.feature_importances_
        accuracy[place] = forest.score(test_means[:, active], test_factors[:, place])
    return {
        "dci_disentanglement": concentration(importance),
        "dci_completeness": concentration(importance.T),
        "dci_informativeness": float(accuracy.mean()),
    }


def concentration(importance: NDArray[np.float64]) -> float:
    """One minus the entropy of each row over its largest, averaged by the rows' weights.

    Of [units, factors] it is the disentanglement, of the transpose the completeness.
    """
    total = importance.sum()
    if total <= 0:
        return 0.0
    weights = importance.sum(axis=1)
    shares = importance / np.maximum(weights[:, None], _TINY)
    entropies = -(shares * np.log(np.maximum(shares, _TINY))).sum(axis=1)
    purity = 1 - entropies / np.log(importance.shape[1])
    return float((purity * weights).sum() / total)
