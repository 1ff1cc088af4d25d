"""Loads image sets from any source as one uint8 tensor per split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from latens_training.data.idx import load_idx
from latens_training.data.npz import load_npz
from latens_training.data.registry import DATASETS
from latens_training.data.types import Dataset
from latens_training.errors import DataError, NotFoundError, TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latens_training.config import DataConfig, Fit


def load_configured(config: DataConfig) -> Dataset:
    """Loads the data set that the settings name.

    Raises:
        TrainingError: as `load`.
    """
    return load(
        config.dataset,
        config.data_dir,
        config.image_size,
        config.fit,
        config.dataset_options,
        stream=config.stream,
        workers=config.workers,
    )


def load(
    source: str,
    data_dir: Path | None = None,
    image_size: tuple[int, int] | None = None,
    fit: Fit = "pad",
    options: Mapping[str, Any] | None = None,
    *,
    stream: bool = False,
    workers: int = 0,
) -> Dataset:
    """Loads a data set by its name, or from a file or folder.

    Args:
        source: a name that `DATASETS` finds, or the path of a folder of pictures, of WebDataset
            tar or of Parquet files, or of an .npz or an IDX file.
        data_dir: the folder of the files of a named set, or to download them to.
        image_size: height and width to which the pictures of a folder are fitted.
        fit: how they are fitted.
        options: of the named set.
        stream: whether pictures stay on disk; those of tar and Parquet files always do.
        workers: threads that read them; 0 for one per core.

    Raises:
        NotFoundError: the source is neither a known name nor a path.
        DataError: its content cannot be used.
        UsageError: a setting or an option is given that the source does not take.
    """
    if source not in DATASETS.names() and Path(source).exists():
        path = Path(source)
        _require_path_settings(path, data_dir, image_size, options)
        if stream or is_stored(path):
            from latens_training.data.stored.load import load_stored

            return _checked(load_stored(path, image_size, fit, workers))
        return _checked(_from_path(path, image_size, fit))
    if stream:
        raise UsageError(f"stream: expected pictures on disk, got {source}")
    if source not in DATASETS.names() and ":" not in source:
        raise NotFoundError(
            f"dataset: no such file or data set: {source}; there are {', '.join(DATASETS.names())}"
        )
    entry = DATASETS.find(source)
    if image_size is not None and "image_size" not in entry.parameters:
        raise UsageError(f"image-size: expected a folder of pictures, got {source}")
    shared = {"data_dir": data_dir, "image_size": image_size, "fit": fit}
    made = entry.factory(**entry.arguments(shared, options or {}))
    if not isinstance(made, Dataset):
        raise DataError(f"dataset: {source} gave {type(made).__name__}, expected a Dataset")
    return _checked(made)


def is_stored(path: Path) -> bool:
    """Whether a path is of tar or Parquet files, whose pictures are never all in memory."""
    suffixes = (".tar", ".parquet")
    if path.is_dir():
        return any(next(path.glob(f"*{suffix}"), None) for suffix in suffixes)
    return path.suffix in suffixes


def _require_path_settings(
    path: Path,
    data_dir: Path | None,
    image_size: tuple[int, int] | None,
    options: Mapping[str, Any] | None,
) -> None:
    if data_dir is not None:
        raise TrainingError(f"data-dir: only for named data sets, {path} is a path")
    if options:
        raise UsageError(f"{next(iter(options))}: has no effect here: {path} is a path")
    if image_size is not None and not (path.is_dir() or is_stored(path)):
        raise UsageError(f"image-size: expected a folder of pictures, got {path}")


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
