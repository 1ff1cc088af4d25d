"""A folder of pictures as a data set. Pictures are read by the same rules as in the client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

from latens import pictures
from latens_training import memory
from latens_training.data.types import Dataset, Split, with_test_part
from latens_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from latens_training.config import Fit

_COPIES = 2
"""Copies of all pixels in memory while the pictures are stacked and split."""
_MOST_CHANNELS = 3

Size = tuple[int, int]


def load_folder(folder: Path, image_size: Size | None = None, fit: Fit = "pad") -> Dataset:
    """Reads a folder of pictures.

    Subfolders, if there are any, are the classes. `train` and `test` at the top are the splits;
    without them every tenth picture is in the test set.

    Args:
        folder: the folder, which is searched with its subfolders.
        image_size: height and width to which each picture is fitted; None: they must be equal.
        fit: how a picture of another size is fitted.

    Raises:
        DataError: no pictures, an unreadable one, or sizes that differ.
        TrainingError: the pictures do not fit into memory.
    """
    parts = [folder / "train", folder / "test"]
    if not all(part.is_dir() for part in parts):
        parts = [folder]
    paths = [_pictures_in(part) for part in parts]
    size = image_size or _one_size([path for found in paths for path in found])
    _require_memory(folder, sum(map(len, paths)), size)
    pixels = [_read(found, size, fit) for found in paths]
    channels = max(len(picture) for found in pixels for picture in found)
    classes = sorted({name for part, found in zip(parts, paths, strict=True)
                      for name in _class_names(part, found) or ()})  # fmt: skip
    splits = [
        Split(
            torch.from_numpy(np.stack([pictures.with_channels(p, channels) for p in found_pixels])),
            _labels(classes, _class_names(part, found)),
        )
        for part, found, found_pixels in zip(parts, paths, pixels, strict=True)
    ]
    if len(splits) == 1:
        return with_test_part(folder.name, splits[0], tuple(classes))
    return Dataset(folder.name, *splits, class_names=tuple(classes))


def _pictures_in(folder: Path) -> list[Path]:
    found = pictures.files_in(folder)
    if not found:
        raise DataError(f"{folder}: no images ({', '.join(sorted(pictures.SUFFIXES))})")
    return found


def _class_names(folder: Path, paths: Sequence[Path]) -> list[str] | None:
    """The subfolder of each picture; None if a picture is at the top level."""
    if any(path.parent == folder for path in paths):
        return None
    return [path.relative_to(folder).parts[0] for path in paths]


def _labels(classes: Sequence[str], names: Sequence[str] | None) -> torch.Tensor | None:
    return None if names is None else torch.tensor([classes.index(name) for name in names])


def _one_size(paths: Sequence[Path]) -> Size:
    """Height and width of all pictures, from their headers.

    Raises:
        DataError: a picture is unreadable, or the sizes differ.
    """
    try:
        with ThreadPoolExecutor() as pool:
            sizes = list(pool.map(pictures.size, paths))
    except pictures.PictureError as error:
        raise DataError(str(error)) from error
    height, width = sizes[0]
    for path, size in zip(paths, sizes, strict=True):
        if size != (height, width):
            raise DataError(
                f"{path}: {size[0]} x {size[1]} pixels (height x width), but {paths[0].name} is "
                f"{height} x {width}; --image-size fits all pictures to one size"
            )
    return height, width


def _require_memory(folder: Path, count: int, size: Size) -> None:
    height, width = size
    memory.require(
        _COPIES * count * _MOST_CHANNELS * height * width,
        f"{folder}: {count:,} images of {height} x {width} pixels",
        "use --stream, fewer images, or smaller ones with --image-size",
    )


def _read(paths: Sequence[Path], size: Size, fit: Fit) -> list[pictures.Pixels]:
    def read(path: Path) -> pictures.Pixels:
        return pictures.fitted(pictures.read(path), *size, how=fit)

    try:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(read, paths))
    except pictures.PictureError as error:
        raise DataError(str(error)) from error
