"""Paths between latents: straight, and along the sphere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PARALLEL = 1e-4
"""Below this sine of the angle the sphere's path is the straight one to float precision."""


def linear(
    start: NDArray[np.floating], end: NDArray[np.floating], shares: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Latents [n, L] on the straight line from `start` to `end`, both [L], at `shares` [n]."""
    return np.asarray((1 - shares[:, None]) * start + shares[:, None] * end, dtype=np.float64)


def spherical(
    start: NDArray[np.floating], end: NDArray[np.floating], shares: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Latents [n, L] on the arc from `start` to `end`, the length changing evenly (slerp).

    In many dimensions the prior's mass lies near a sphere, which a straight line cuts through
    (White 2016, arXiv:1609.04468). Straight where the ends are parallel, opposed or at the origin.
    """
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if min(lengths) == 0:
        return linear(start, end, shares)
    first, last = start / lengths[0], end / lengths[1]
    angle = float(np.arccos(np.clip(first @ last, -1, 1)))
    if np.sin(angle) < _PARALLEL:
        return linear(start, end, shares)
    weights = np.sin((1 - shares) * angle), np.sin(shares * angle)
    directions = (weights[0][:, None] * first + weights[1][:, None] * last) / np.sin(angle)
    radii = (1 - shares) * lengths[0] + shares * lengths[1]
    return np.asarray(radii[:, None] * directions, dtype=np.float64)
