"""How the graphs of a conditional model take the class of a row: as one more place of axis 1.

An engine runs graphs of one input. So the label follows the features of a latent `[n, L]`, and of
images it is one more channel `[n, c, h, w]`, a grey level in 0..255: of floats the label by 255.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_LABELS = 256
"""As many as there are grey levels."""


def joined(rows: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[Any]:
    """Rows `[n, m, ...]` with their labels `[n]`: `[n, m + 1, ...]` of the same element type."""
    both = np.empty((len(rows), rows.shape[1] + 1, *rows.shape[2:]), rows.dtype)
    both[:, :-1] = rows
    levels = labels if rows.dtype == np.uint8 else labels / 255
    both[:, -1] = levels.reshape(-1, *(1,) * (rows.ndim - 2))
    return both


def labels_of(both: NDArray[Any]) -> NDArray[np.int64]:
    """The labels `[n]` of what `joined` gave."""
    levels = both[:, -1].reshape(len(both), -1)[:, 0]
    scale = 1 if both.dtype == np.uint8 else 255
    return np.rint(levels.astype(np.float64) * scale).astype(np.int64)
