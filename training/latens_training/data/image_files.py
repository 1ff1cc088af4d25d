"""Image sets of the user's own: a folder of pictures, an .npz file or an IDX file."""

from __future__ import annotations

import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latens_training.data.idx import read_idx
from latens_training.data.types import Dataset, Split
from latens_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
_TEST_SHARE = 10
_GREY_MODES = {"1", "L", "LA"}
_ATTRIBUTE = "attribute_"


def load_folder(folder: Path) -> Dataset:
    """Reads a folder of pictures of one size.

    Subfolders, where there are any, are the classes. `train` and `test` at the top are the splits;
    without them one picture in ten, chosen once and for all by its place, is the test set.

    Raises:
        DataError: no pictures, an unreadable one, or sizes that differ.
    """
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        train, test = (_read_split(folder / part) for part in ("train", "test"))
        return Dataset(folder.name, *_of_equal_channels(train, test))
    return _parted(folder.name, _read_split(folder))


def load_npz(path: Path) -> Dataset:
    """Reads an .npz file.

    Its arrays: `images` [n, h, w] or [n, c, h, w], uint8 or floats in [0, 1], and optionally
    `labels` [n] and `attribute_<name>` [n]; or each of them twice, as `train_images` and
    `test_images` (`x_train`, `y_train`, `x_test`, `y_test` are read too).

    Raises:
        DataError: damaged, without images, or with values that are no pixels.
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
    return _parted(path.stem, _npz_split(path, arrays, ""))


def load_idx(path: Path) -> Dataset:
    """Reads an IDX file of images [n, h, w] or [n, c, h, w]; one in ten is the test set.

    Labels are taken from the file of the same name with `labels-idx1` for `images-idx3`, if there.

    Raises:
        DataError: damaged, not of images, or labels of another length.
    """
    images = read_idx(path)
    if images.dim() not in (3, 4):
        raise DataError(f"{path}: rank {images.dim()}; images have rank 3 or 4")
    images = images.unsqueeze(1) if images.dim() == 3 else images
    beside = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    labels = read_idx(beside).long() if beside != path and beside.exists() else None
    if labels is not None and labels.shape != images.shape[:1]:
        raise DataError(f"{beside}: {len(labels)} labels for the {len(images)} images of {path}")
    return _parted(path.name.partition(".")[0], Split(images, labels))


def _parted(name: str, split: Split) -> Dataset:
    """Every tenth image is for testing."""
    if len(split) < 2:
        raise DataError(f"{name}: {len(split)} images; at least 2 are needed")
    test = torch.arange(len(split)) % _TEST_SHARE == min(_TEST_SHARE, len(split)) - 1
    return Dataset(name, _chosen(split, ~test), _chosen(split, test))


def _chosen(split: Split, mask: Tensor) -> Split:
    return Split(
        split.images[mask],
        None if split.labels is None else split.labels[mask],
        {name: values[mask] for name, values in split.attributes.items()},
    )


def _read_split(folder: Path) -> Split:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )
    if not paths:
        raise DataError(f"{folder}: no images ({', '.join(sorted(_SUFFIXES))})")
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(_read_picture, paths))
    _require_one_size(paths, pictures)
    if any(len(picture) != len(pictures[0]) for picture in pictures):
        pictures = [np.broadcast_to(picture, (3, *picture.shape[1:])) for picture in pictures]
    classes = sorted({path.relative_to(folder).parts[0] for path in paths if path.parent != folder})
    labels = [
        classes.index(path.relative_to(folder).parts[0]) for path in paths if path.parent != folder
    ]
    complete = classes and len(labels) == len(paths)
    return Split(torch.from_numpy(np.stack(pictures)), torch.tensor(labels) if complete else None)


def _read_picture(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            grey = image.mode in _GREY_MODES
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error})") from error
    return pixels[None] if grey else np.moveaxis(pixels, 2, 0)


def _require_one_size(paths: Sequence[Path], pictures: Sequence[NDArray[np.uint8]]) -> None:
    expected = pictures[0].shape[1:]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape[1:] != expected:
            raise DataError(
                f"{path}: {picture.shape[1]} x {picture.shape[2]} pixels, "
                f"but {paths[0].name} is {expected[0]} x {expected[1]}; all must be of one size"
            )


def _of_equal_channels(*splits: Split) -> list[Split]:
    channels = max(split.images.shape[1] for split in splits)
    return [
        replace(split, images=split.images.expand(-1, channels, -1, -1).contiguous())
        for split in splits
    ]


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
