"""The bundle's atlas: part of the test set, with the means that the network gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from latens_export.checks import parity
from latens_export.checks.inputs import values_of
from latens_serving.bundle.test_embeddings import Embeddings, embeddings_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from latens_export.network import Network

_MOST_IMAGE_BYTES = 16 << 20
_ROWS_A_RUN = 500


def make_atlas(network: Network, images: Tensor, labels: Tensor | None, count: int) -> bytes:
    """The content of `atlas.npz`.

    Args:
        network: the trained network.
        images: the test set, uint8 [n, c, h, w].
        labels: int64 [n], or None.
        count: how many images at most, spread evenly over the test set; fewer where they are
            large, so that the file stays small.
    """
    row_bytes = max(1, images[0].numel())
    count = max(1, min(count, len(images), _MOST_IMAGE_BYTES // row_bytes))
    chosen = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    shown = images[chosen]
    means = [
        parity.reference_posterior(network, values_of(part))["mean"]
        for part in torch.split(shown, _ROWS_A_RUN)
    ]
    return embeddings_bytes(
        Embeddings(
            images=shown.numpy(),
            means=np.concatenate(means),
            labels=None if labels is None else labels[chosen].numpy().astype(np.int64),
        )
    )
