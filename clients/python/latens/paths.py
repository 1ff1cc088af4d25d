"""The points of lines and arcs through a latent space: pure numpy, no model.

The server uses these functions, and so does the client where a path has more points than a call may
carry, so that the points are the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Latents = NDArray[np.float32]

# Below this sine, two directions count as (anti)parallel: float32 ends carry no finer angle.
_PARALLEL = 1e-7


def linear_path(starts: Latents, ends: Latents, steps: int) -> Latents:
    """Straight lines between `[n, *latent_shape]`: `[n, steps, *latent_shape]`, both ends exact."""
    t = _fractions(steps, starts.ndim)
    first = starts[:, None].astype(np.float64)
    return _with_exact_ends(first + t * (ends[:, None] - first), starts, ends)


def spherical_path(starts: Latents, ends: Latents, steps: int) -> Latents:
    """Arcs of constant angular speed; the length changes linearly from one end's to the other's.

    Spherical linear interpolation (Shoemake 1985; for latents, White 2016), per item over the whole
    latent. It is also defined where there is no single arc:

    * an end of length zero has no direction: the path is the straight line;
    * parallel ends: likewise the straight line, which is then the arc;
    * opposite ends: all half circles are equally short; the one chosen turns towards the coordinate
      axis farthest from the ends' line, the first of them if there are several. A latent of one
      coordinate has no half circle: the path is the straight line.

    Returns:
        float32 `[n, steps, *latent_shape]`, both ends exact.
    """
    shape = starts.shape
    a = starts.reshape(len(starts), -1).astype(np.float64)
    b = ends.reshape(len(ends), -1).astype(np.float64)
    lengths_a, lengths_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    path = np.asarray(linear_path(starts, ends, steps), np.float64).reshape(len(a), steps, -1)
    arcs = (lengths_a > 0) & (lengths_b > 0)
    if a.shape[1] > 1 and arcs.any():
        unit_a = a[arcs] / lengths_a[arcs, None]
        unit_b = b[arcs] / lengths_b[arcs, None]
        t = _fractions(steps, 2)
        lengths = lengths_a[arcs, None, None] * (1 - t) + lengths_b[arcs, None, None] * t
        path[arcs] = lengths * _great_circle(unit_a, unit_b, t)
    return _with_exact_ends(path.reshape(shape[0], steps, *shape[1:]), starts, ends)


def _great_circle(
    a: NDArray[np.float64], b: NDArray[np.float64], t: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points at the fractions `t` of the arcs between unit vectors `[n, size]`."""
    # The angle by Kahan's formula: exact near 0 and pi, where the arc cosine is not.
    angle = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    across = b - np.sum(a * b, axis=1, keepdims=True) * a
    sine = np.linalg.norm(across, axis=1)
    opposite = (sine < _PARALLEL) & (angle > 1)
    if opposite.any():
        across[opposite] = _perpendicular(a[opposite])
        sine = np.linalg.norm(across, axis=1)
    across /= np.where(sine == 0, 1.0, sine)[:, None]
    turned = angle[:, None, None] * t
    points: NDArray[np.float64] = np.cos(turned) * a[:, None] + np.sin(turned) * across[:, None]
    return points


def _perpendicular(unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors at right angles to unit vectors `[n, size]`, size at least 2."""
    rows = np.arange(len(unit))
    axis = np.abs(unit).argmin(axis=1)
    across: NDArray[np.float64] = -unit[rows, axis][:, None] * unit
    across[rows, axis] += 1
    return across


def _fractions(steps: int, axes: int) -> NDArray[np.float64]:
    return np.linspace(0.0, 1.0, steps).reshape(1, steps, *[1] * (axes - 1))


def _with_exact_ends(path: NDArray[np.float64], starts: Latents, ends: Latents) -> Latents:
    exact = path.astype(np.float32)
    exact[:, 0], exact[:, -1] = starts, ends
    return exact


def values_between(first: float, last: float, steps: int) -> NDArray[np.float32]:
    """The values of a scan, evenly spaced, both ends included: `[steps]`."""
    # The ends are float32, as in a message; the values between are computed in float64.
    ends = float(np.float32(first)), float(np.float32(last))
    return np.linspace(*ends, steps, dtype=np.float32)


def along_coordinate(unit: int, points: Latents, values: Latents) -> Latents:
    """Lines on which one coordinate takes each of the values.

    Args:
        unit: the coordinate, in C order.
        points: `[n, *latent_shape]`.
        values: `[steps]`.

    Returns:
        float32 `[n, steps, *latent_shape]`.
    """
    lines = np.repeat(points[:, None], len(values), axis=1)
    lines.reshape(len(points), len(values), -1)[:, :, unit] = values
    return lines


def along_direction(direction: NDArray[np.float64], points: Latents, values: Latents) -> Latents:
    """Lines on which a direction is added times each of the values.

    Args:
        direction: `[*latent_shape]`.
        points: `[n, *latent_shape]`.
        values: `[steps]`.

    Returns:
        float32 `[n, steps, *latent_shape]`.
    """
    strengths = values.reshape(-1, *[1] * direction.ndim)
    return points[:, None] + (strengths * direction).astype(np.float32)
