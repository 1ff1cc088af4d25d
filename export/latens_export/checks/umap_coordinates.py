"""UMAP coordinates of the means: a plane in which neighbours stay near.

umap-learn is an extra of this package: it is imported here only, and never needed to serve.
Source: McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation and Projection" (2018).
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from latens_export.errors import UsageError

if TYPE_CHECKING:
    from latens_export.checks.inputs import Floats

NEIGHBOURS = 15
"""Of each row: umap-learn's own default."""


def require_umap(rows: int) -> None:
    """Refuses what UMAP cannot do, before other work begins.

    Args:
        rows: how many test images go into the bundle at most.

    Raises:
        UsageError: there are too few rows, or umap-learn is not installed.
    """
    if rows <= NEIGHBOURS:
        raise UsageError(
            f"umap: needs more than {NEIGHBOURS} test images in the bundle, got {rows}; "
            "set --atlas-images"
        )
    if importlib.util.find_spec("umap") is None:
        raise UsageError(
            "umap: umap-learn is not installed; install it with: pip install 'latens-export[umap]'"
        )


def umap_coordinates(means: Floats) -> Floats:
    """Two UMAP coordinates of each row; the same rows give the same ones.

    Args:
        means: `[n, *latent_shape]`, more than `NEIGHBOURS` rows.

    Returns:
        float32 `[n, 2]`.

    Raises:
        UsageError: see `require_umap`.
    """
    require_umap(len(means))
    import umap

    rows = means.reshape(len(means), -1)
    found = umap.UMAP(n_neighbors=NEIGHBOURS, random_state=0, n_jobs=1).fit_transform(rows)
    return np.ascontiguousarray(found, np.float32)
