"""A data set whose pictures stay on disk."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from latens_training.data.stored.images import Rules, StoredImages
from latens_training.data.stored.stores import store_of
from latens_training.data.types import Dataset, Split, with_test_part

if TYPE_CHECKING:
    from pathlib import Path

    from latens_training.config import Fit


def load_stored(
    path: Path, image_size: tuple[int, int] | None, fit: Fit, workers: int = 0
) -> Dataset:
    """Pictures of a folder, tar files or Parquet files, read when they are used.

    Every tenth one is for testing, unless the folder has the parts `train` and `test`.

    Args:
        path: the folder, or one file.
        image_size: height and width to which each picture is fitted; None: all have one size.
        fit: how they are fitted.
        workers: threads that read and decode; 0 for one per core.

    Raises:
        DataError: there are no pictures, or one cannot be read.
    """
    pool = ThreadPoolExecutor(workers or os.cpu_count(), thread_name_prefix="pictures")
    parts = [path / "train", path / "test"]
    if all(part.is_dir() for part in parts):
        first, second = (_split(part, image_size, fit, pool) for part in parts)
        return Dataset(path.name, first[0], second[0], class_names=first[1])
    split, class_names = _split(path, image_size, fit, pool)
    return with_test_part(path.stem, split, class_names)


def _split(
    path: Path, size: tuple[int, int] | None, fit: Fit, pool: ThreadPoolExecutor
) -> tuple[Split, tuple[str, ...]]:
    store = store_of(path)
    labels = store.labels()
    images = StoredImages(store, torch.arange(len(store)), Rules.of(store, size, fit), pool)
    # Split declares a tensor; training uses only the part of its interface that these have.
    split = Split(cast(Tensor, images), None if labels is None else torch.from_numpy(labels))
    return split, store.class_names
