"""Loads image sets from any source as one uint8 tensor per split."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from latens_training.data.idx import load_idx
from latens_training.data.npz import load_npz
from latens_training.data.types import Dataset
from latens_training.errors import DataError, NotFoundError, TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from latens_training.config import DataConfig, Fit

# Name to "module:function" of (data_dir) -> Dataset; the module is imported when it is used.
SOURCES = {
    "mnist": "latens_training.data.mnist:load_mnist",
    "fashion-mnist": "latens_training.data.mnist:load_fashion_mnist",
    "kmnist": "latens_training.data.mnist:load_kmnist",
    "emnist": "latens_training.data.mnist:load_emnist",
    "dsprites": "latens_training.data.sprite_sets:load_full",
    "dsprites-small": "latens_training.data.sprite_sets:load_reduced",
}


def load_configured(config: DataConfig) -> Dataset:
    """Loads the data set that the settings name.

    Raises:
        TrainingError: as `load`.
    """
    return load(config.dataset, config.data_dir, config.image_size, config.fit)


def load(
    source: str,
    data_dir: Path | None = None,
    image_size: tuple[int, int] | None = None,
    fit: Fit = "pad",
) -> Dataset:
    """Loads a data set by its name, or from a file or folder.

    Args:
        source: a name of `SOURCES`, or the path of an image folder, an .npz or an IDX file.
        data_dir: the folder of the files of a named set, or to download them to.
        image_size: height and width to which the pictures of a folder are fitted.
        fit: how they are fitted.

    Raises:
        NotFoundError: the source is neither a known name nor a path.
        DataError: its content cannot be used.
        UsageError: `image_size` is given for a source that is not a folder.
    """
    if image_size is not None and not Path(source).is_dir():
        raise UsageError(f"image-size: expected a folder of pictures, got {source}")
    if source in SOURCES:
        dataset = _source(source)(data_dir)
    elif Path(source).exists():
        if data_dir is not None:
            raise TrainingError(f"data-dir: only for named data sets, {source} is a path")
        dataset = _from_path(Path(source), image_size, fit)
    else:
        raise NotFoundError(
            f"dataset: no such file or data set: {source}; there are {', '.join(SOURCES)}"
        )
    return _checked(dataset)


def _source(name: str) -> Callable[[Path | None], Dataset]:
    module, _, function = SOURCES[name].partition(":")
    source: Callable[[Path | None], Dataset] = getattr(import_module(module), function)
    return source


def _from_path(path: Path, image_size: tuple[int, int] | None, fit: Fit) -> Dataset:
    if path.is_dir():
        from latens_training.data.folder import load_folder  # Pillow, only for pictures

        return load_folder(path, image_size, fit)
    return load_npz(path) if path.suffix == ".npz" else load_idx(path)


def _checked(dataset: Dataset) -> Dataset:
    """Refuses a data set that training could not use."""
    for name, split in (("training", dataset.train), ("test", dataset.test)):
        if split.images.dtype != torch.uint8 or split.images.dim() != 4:
            raise DataError(f"{dataset.name}: {name} images are not uint8 [n, c, h, w]")
        if 0 in split.images.shape:
            raise DataError(f"{dataset.name}: no {name} images")
        if split.labels is not None and len(split.labels) != len(split.images):
            raise DataError(
                f"{dataset.name}: {len(split.labels)} labels for {len(split.images)} {name} images"
            )
    if dataset.train.image_shape != dataset.test.image_shape:
        raise DataError(
            f"{dataset.name}: training images are {dataset.train.image_shape}, "
            f"test images {dataset.test.image_shape} (channels, height, width)"
        )
    return dataset
