"""The rows of one shard, as they are written."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

MIRRORED = "_mirrored"
"""Ends the names of what was computed from the mirrored image."""


@dataclass(frozen=True, slots=True)
class ShardRows:
    """Rows in the order of the input."""

    keys: list[str]
    latents: dict[str, Floats]
    """By name: `mean`, `log_var`, `draws`, and the same of the mirrored images."""
    columns: dict[str, list[Any]]
    """By name: what was kept of the input."""
    sizes: NDArray[np.int64]
    """Height and width of each image before it was fitted."""


def draws_of(
    keys: list[str], mean: Floats, log_var: Floats, count: int, seed: int
) -> NDArray[np.float32]:
    """Draws from the posterior of each row, `[n, count, *latent_shape]`.

    The noise of a row depends on the seed and the row's key alone: on no other row, and not on how
    the input was divided.
    """
    noise = np.empty((len(keys), count, *mean.shape[1:]), np.float32)
    for row, key in enumerate(keys):
        digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        noise[row] = generator.standard_normal(noise.shape[1:], np.float32)
    deviation = np.exp(0.5 * log_var)
    drawn: NDArray[np.float32] = mean[:, np.newaxis] + deviation[:, np.newaxis] * noise
    return drawn
