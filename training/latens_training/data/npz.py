"""An .npz file of images, labels and attributes as a data set."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latens_training.data.types import Dataset, Split, with_test_part
from latens_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ATTRIBUTE = "attribute_"


def load_npz(path: Path) -> Dataset:
    """Reads an .npz file.

    Its arrays: `images` [n, h, w] or [n, c, h, w], uint8 or floats in [0, 1], and optionally
    `labels` [n] and `attribute_<name>` [n]; or each of them twice, as `train_images` and
    `test_images` (`x_train`, `y_train`, `x_test`, `y_test` are read too).

    Raises:
        DataError: it is damaged, has no images, or has values that are not pixels.
    """
    arrays = _read_npz(path)
    renamed = {"x_train": "train_images", "y_train": "train_labels"}
    renamed |= {"x_test": "test_images", "y_test": "test_labels"}
    arrays = {renamed.get(name, name): array for name, array in arrays.items()}
    if "train_images" in arrays and "test_images" in arrays:
        splits = [_npz_split(path, arrays, prefix) for prefix in ("train_", "test_")]
        return Dataset(path.stem, *splits)
    if "images" not in arrays:
        raise DataError(
            f"{path}: no array 'images' (nor 'train_images' and 'test_images'); "
            f"it holds {', '.join(sorted(arrays)) or 'nothing'}"
        )
    return with_test_part(path.stem, _npz_split(path, arrays, ""))


def _read_npz(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a whole .npz file ({error})") from error


def _npz_split(path: Path, arrays: dict[str, NDArray[np.generic]], prefix: str) -> Split:
    images = _pixels(f"{path}: {prefix}images", arrays[f"{prefix}images"])
    labels = arrays.get(f"{prefix}labels")
    begin = prefix + _ATTRIBUTE
    attributes = {
        name.removeprefix(begin): _values(f"{path}: {name}", array, len(images))
        for name, array in arrays.items()
        if name.startswith(begin)
    }
    if labels is None:
        return Split(images, None, attributes)
    values = _values(f"{path}: {prefix}labels", labels, len(images))
    if values.is_floating_point():
        raise DataError(f"{path}: {prefix}labels are {labels.dtype}, expected whole numbers")
    return Split(images, values, attributes)


def _pixels(what: str, array: NDArray[np.generic]) -> Tensor:
    """uint8 [n, c, h, w] of an array of pixels."""
    if array.ndim not in (3, 4):
        raise DataError(f"{what}: shape {array.shape}; expected [n, h, w] or [n, c, h, w]")
    array = array[:, None] if array.ndim == 3 else array
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError(f"{what}: {array.dtype}; expected uint8, or floats in [0, 1]")
    floats = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise DataError(f"{what}: has values that are not finite (NaN or infinity)")
    if floats.size and (floats.min() < 0 or floats.max() > 1):
        raise DataError(f"{what}: floats from {floats.min():g} to {floats.max():g}, not in [0, 1]")
    return torch.from_numpy(np.rint(floats * 255).astype(np.uint8))


def _values(what: str, array: NDArray[np.generic], count: int) -> Tensor:
    """int64 or float32 [n] of an array of labels."""
    if array.shape != (count,):
        raise DataError(f"{what}: shape {array.shape} for {count} images")
    if np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_:
        return torch.from_numpy(array.astype(np.int64))
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array.astype(float)).all():
        raise DataError(f"{what}: {array.dtype}; expected finite numbers")
    return torch.from_numpy(array.astype(np.float32))
