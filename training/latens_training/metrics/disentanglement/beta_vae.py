"""The beta-VAE score (Higgins et al. 2017, "beta-VAE", section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from latens_training.metrics.disentanglement.factor_vae import Groups, alike, images_by_value
from latens_training.metrics.disentanglement.protocol import Codes, Factors, Protocol

_VOTES_AT_ONCE = 1000
_ITERATIONS = 1000


def beta_vae_score(codes: Codes, factors: Factors, protocol: Protocol) -> float:
    """The accuracy of a linear classifier that tells which factor pairs of images share; 0 to 1.

    A point is the mean over `protocol.vote_images` pairs of the distance of their codes, by unit.
    The pairs of a point share the value of one random factor, each pair a value of its own; the
    classifier is logistic regression. Numbers of points follow Locatello et al. (2019).

    Args:
        codes: `[n, units]`, of all images that there are.
        factors: `[n, factors]`.
        protocol: the numbers of points and of pairs per point, and the seed.
    """
    generator = np.random.default_rng(protocol.seed)
    groups = [images_by_value(values) for values in factors.T]
    points, held = _points(codes, groups, protocol.votes, protocol.vote_images, generator)
    tested, truth = _points(codes, groups, protocol.test_votes, protocol.vote_images, generator)
    if len(np.unique(held)) < 2:
        return 1.0
    logistic = LogisticRegression(max_iter=_ITERATIONS, random_state=protocol.seed)
    classifier = make_pipeline(StandardScaler(), logistic).fit(points, held)
    return float(classifier.score(tested, truth))


def _points(
    codes: Codes,
    groups: Sequence[Groups],
    count: int,
    pairs: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances by unit `[count, units]`, and the factor `[count]` that the pairs share."""
    held = generator.integers(len(groups), size=count)
    distances = []
    for start in range(0, count, _VOTES_AT_ONCE):
        some = held[start : start + _VOTES_AT_ONCE]
        rows = alike(groups, np.repeat(some, pairs), 2, generator).reshape(len(some), pairs, 2)
        between = np.abs(codes[rows[:, :, 0]] - codes[rows[:, :, 1]])
        distances.append(between.mean(axis=1))
    return np.concatenate(distances), held
