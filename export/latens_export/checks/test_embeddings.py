"""The bundle's atlas: part of the test set, with the means that the network gives it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from latens_export.checks import parity
from latens_export.checks.inputs import Floats, values_of
from latens_export.checks.umap_coordinates import umap_coordinates
from latens_serving.bundle.test_embeddings import Embeddings, embeddings_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from latens_export.network import Network

MOST_AXES = 8
"""Principal axes of the means, of latents with more than two coordinates."""

_MOST_IMAGE_BYTES = 16 << 20
_MOST_MEAN_BYTES = 16 << 20
_ROWS_A_RUN = 500
_ELEMENTS_A_RUN = 1 << 22


def make_atlas(
    network: Network, images: Tensor, labels: Tensor | None, count: int, *, umap: bool = False
) -> bytes:
    """The content of `atlas.npz`.

    Args:
        network: the trained network.
        images: the test set, uint8 [n, c, h, w]; of a conditional model joined with its labels.
        labels: int64 [n], or None.
        count: how many images at most, spread evenly over the test set; fewer where they are
            large, so that the file stays small.
        umap: whether UMAP coordinates of the means are computed.

    Raises:
        UsageError: UMAP was asked for and cannot be computed.
    """
    spec = network.spec
    image_shape = spec.row_shape(tuple(images.shape[1:]))
    latent_bytes = 4 * math.prod(spec.latent_shape_of(image_shape))
    fitting = min(_MOST_IMAGE_BYTES // images[0].numel(), _MOST_MEAN_BYTES // latent_bytes)
    count = max(1, min(count, len(images), fitting))
    chosen = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    shown = images[chosen]
    rows = max(1, min(_ROWS_A_RUN, _ELEMENTS_A_RUN // images[0].numel()))
    means = np.concatenate(
        [parity.reference_latents(network, values_of(part)) for part in torch.split(shown, rows)]
    )
    axes, spreads = principal_axes(means) if means[0].size > 2 else (None, None)
    return embeddings_bytes(
        Embeddings(
            images=np.ascontiguousarray(shown.numpy()[:, : image_shape[0]]),
            means=means,
            labels=None if labels is None else labels[chosen].numpy().astype(np.int64),
            axes=axes,
            spreads=spreads,
            umap=umap_coordinates(means) if umap else None,
        )
    )


def principal_axes(means: Floats) -> tuple[Floats, Floats] | tuple[None, None]:
    """The axes along which means vary most, and by how much; (None, None) for too few rows.

    Args:
        means: `[n, *latent_shape]`.

    Returns:
        Unit vectors `[k, *latent_shape]`, each with its largest element positive, and standard
        deviations `[k]`.
    """
    rows = means.reshape(len(means), -1).astype(np.float64)
    rows -= rows.mean(0)
    count = min(MOST_AXES, len(rows) - 1, rows.shape[1])
    if count < 2:
        return None, None
    # Of the smaller of the two products: a spatial latent has thousands of coordinates.
    if rows.shape[1] <= len(rows):
        _, vectors = np.linalg.eigh(rows.T @ rows)
        axes = vectors[:, ::-1][:, :count].T
    else:
        _, vectors = np.linalg.eigh(rows @ rows.T)
        axes = vectors[:, ::-1][:, :count].T @ rows
    axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-30)
    largest = np.abs(axes).argmax(1)
    axes *= np.sign(axes[np.arange(count), largest])[:, None]
    spreads = (rows @ axes.T).std(0)
    return (
        np.ascontiguousarray(axes.reshape(count, *means.shape[1:]), np.float32),
        spreads.astype(np.float32),
    )
