"""The FactorVAE score (Kim and Mnih 2018, arXiv:1802.05983, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from latens_training.metrics.disentanglement.protocol import Codes, Factors, Protocol, active_units

_VOTES_AT_ONCE = 1000


def factor_vae_score(codes: Codes, factors: Factors, protocol: Protocol) -> float:
    """The accuracy of telling which factor was held still from which unit varied least; 0 to 1.

    A vote is a batch of images with one value of one random factor; the unit of least variance,
    relative to its variance over all images, votes for that factor. Inactive units do not vote, and
    without an active unit the score is that of guessing the commonest factor.

    Args:
        codes: `[n, units]`, of all images that there are.
        factors: `[n, factors]`; every combination of the factors' values should be there.
        protocol: the numbers of votes and of images per vote, and the seed.
    """
    generator = np.random.default_rng(protocol.seed)
    groups = [images_by_value(values) for values in factors.T]
    counts = np.zeros((codes.shape[1], factors.shape[1]))
    learned = _votes(codes, groups, protocol.votes, protocol.vote_images, generator)
    np.add.at(counts, learned, 1)
    verdicts = counts.argmax(axis=1)
    units, held = _votes(codes, groups, protocol.test_votes, protocol.vote_images, generator)
    return float((verdicts[units] == held).mean())


class Groups(NamedTuple):
    """The images by the values of one factor."""

    rows: NDArray[np.int64]
    """All images, those of one value beside each other."""
    starts: NDArray[np.int64]
    """Where each value begins in `rows`."""
    sizes: NDArray[np.int64]
    """How many images each value has."""


def images_by_value(values: NDArray[np.int64]) -> Groups:
    """The images that have each value of a factor."""
    rows = np.argsort(values, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values[rows])) + 1])
    return Groups(rows, starts, np.diff(np.append(starts, len(values))))


def alike(
    groups: Sequence[Groups],
    held: NDArray[np.int64],
    images: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Rows `[votes, images]` drawn at random among those that share a value of the vote's factor.

    Args:
        groups: by factor.
        held: the factor of each vote, `[votes]`.
        images: rows per vote.
        generator: chooses the value and the rows.
    """
    chosen = np.empty((len(held), images), np.int64)
    for factor, group in enumerate(groups):
        votes = np.flatnonzero(held == factor)
        values = generator.integers(len(group.starts), size=len(votes))[:, None]
        places = generator.integers(group.sizes[values], size=(len(votes), images))
        chosen[votes] = group.rows[group.starts[values] + places]
    return chosen


def _votes(
    codes: Codes,
    groups: Sequence[Groups],
    count: int,
    images: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The unit `[count]` that varied least and the factor `[count]` that was held still."""
    active = active_units(codes)
    scale = np.where(active, codes.std(axis=0), np.inf)
    held = generator.integers(len(groups), size=count)
    units = []
    for start in range(0, count, _VOTES_AT_ONCE):
        rows = alike(groups, held[start : start + _VOTES_AT_ONCE], images, generator)
        spread = codes[rows].std(axis=1, ddof=1) / scale
        spread[:, ~active] = np.inf
        units.append(spread.argmin(axis=1))
    return np.concatenate(units), held
