"""The sprites as data sets for training: `sprites` and `sprites-small`."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from latens_training.data.sprites import FACTORS, FULL, REDUCED, Grid, Sprites
from latens_training.data.types import Dataset, Split

GRIDS = {"sprites": FULL, "sprites-small": REDUCED}
_TEST_SHARE = 10
_SEED = 2017


def load_full() -> Dataset:
    """All 737,280 pictures; each is made when it is used."""
    return as_dataset("sprites", FULL)


def load_reduced() -> Dataset:
    """The 13,824 pictures of the small grid, which a CPU learns in minutes."""
    return as_dataset("sprites-small", REDUCED)


def as_dataset(name: str, grid: Grid) -> Dataset:
    """One picture in ten is for testing; the choice is fixed.

    The labels are the shapes, the attributes the indices of all factor values.
    """
    sprites = Sprites.of(grid)
    order = torch.randperm(len(grid), generator=torch.Generator().manual_seed(_SEED))
    testing = torch.zeros(len(grid), dtype=torch.bool)
    testing[order[: len(grid) // _TEST_SHARE]] = True
    return Dataset(
        name,
        _split(sprites.part(~testing)),
        _split(sprites.part(testing)),
        class_names=grid.shapes,
    )


def _split(sprites: Sprites) -> Split:
    values = torch.from_numpy(sprites.grid.factors(sprites.index.numpy()))
    attributes = {name: values[:, place] for place, name in enumerate(FACTORS)}
    # Split declares a tensor; training uses only the part of its interface that Sprites has.
    return Split(cast(Tensor, sprites), attributes["shape"], attributes)
