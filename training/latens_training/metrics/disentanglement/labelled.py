"""The scores of a model on images whose attributes are the factors that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latens_training.errors import DataError
from latens_training.metrics.disentanglement.protocol import Factors, encode_all
from latens_training.metrics.disentanglement.scores import all_scores

if TYPE_CHECKING:
    import torch

    from latens_training.data.types import Dataset, Split
    from latens_training.metrics.disentanglement.protocol import Protocol
    from latens_training.models.autoencoder import Autoencoder


def factor_names(labelled: Dataset) -> list[str]:
    """The attributes of whole numbers that vary over the images."""
    return [
        name
        for name, values in labelled.train.attributes.items()
        if not values.is_floating_point() and bool((values != values[0]).any())
    ]


def scores_on(
    model: Autoencoder,
    labelled: Dataset,
    protocol: Protocol,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """All scores by name, on the images of both splits.

    A factor of whole numbers with more than two values counts as ordered, except one that is
    called `shape`.

    Raises:
        DataError: the images have fewer than two attributes of whole numbers.
    """
    splits = (labelled.train, labelled.test)
    names = factor_names(labelled)
    if len(names) < 2:
        raise DataError(
            f"{labelled.name}: no factors; expected two or more attributes of whole numbers that "
            "vary"
        )
    model.to(device)
    codes = np.concatenate(
        [encode_all(model, split.images.to(device), split.labels) for split in splits]
    )
    model.to("cpu")
    factors = np.concatenate([_factors(split, names) for split in splits])
    ordered = [
        name != "shape" and len(np.unique(values)) > 2
        for name, values in zip(names, factors.T, strict=True)
    ]
    return all_scores(codes, factors, protocol, names=names, ordered=ordered)


def _factors(split: Split, names: list[str]) -> Factors:
    return np.stack([split.attributes[name].numpy() for name in names], axis=1).astype(np.int64)
