"""Sets of images, whatever their source, as one uint8 tensor a split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from training.errors import DataError, NotFoundError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Name to "module:function" of (data_dir) -> Dataset, so that a source is imported when it is asked.
SOURCES = {
    "mnist": "training.mnist:load_mnist",
    "fashion-mnist": "training.mnist:load_fashion_mnist",
    "kmnist": "training.mnist:load_kmnist",
    "emnist": "training.mnist:load_emnist",
    "dsprites": "training.disentanglement.dataset:load_full",
    "dsprites-small": "training.disentanglement.dataset:load_reduced",
}

_HASHED_AT_ONCE = 8192


class Images(Protocol):
    """What training needs of a split's images; a uint8 tensor [n, c, h, w] is the usual one."""

    @property
    def shape(self) -> torch.Size: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """The images of an index tensor [m] (on the images' device): uint8 [m, c, h, w]."""
        ...

    def to(self, device: torch.device | str, /) -> Images: ...


@dataclass(frozen=True)
class Split:
    """A part of a data set: images uint8 [n, c, h, w], and what is known of each."""

    images: Tensor
    labels: Tensor | None = None
    """int64 [n]."""
    attributes: Mapping[str, Tensor] = field(default_factory=dict)
    """Further int64 or float32 labels [n], by name."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Dataset:
    """Two splits of images of one shape."""

    name: str
    train: Split
    test: Split

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train.image_shape

    def digest(self) -> str:
        """SHA-256 of the images of both splits, in hexadecimal."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(str(tuple(split.images.shape)).encode())
            for start in range(0, len(split.images), _HASHED_AT_ONCE):
                block = torch.arange(start, min(start + _HASHED_AT_ONCE, len(split.images)))
                digest.update(np.ascontiguousarray(split.images[block].numpy()).data)
        return digest.hexdigest()


def load(source: str, data_dir: Path | None = None) -> Dataset:
    """Loads a data set by its name, or from a file or folder.

    Args:
        source: a name of `SOURCES`, or the path of an image folder, an .npz or an IDX file.
        data_dir: where the files of a named set lie, or are downloaded to.

    Raises:
        NotFoundError: neither a name nor a path.
        DataError: its content cannot be used.
    """
    if source in SOURCES:
        dataset = _source(source)(data_dir)
    elif Path(source).exists():
        if data_dir is not None:
            raise TrainingError(f"data-dir: only for named data sets, {source} is a path")
        dataset = _from_path(Path(source))
    else:
        raise NotFoundError(f"dataset: no file {source}, and not one of {', '.join(SOURCES)}")
    return _checked(dataset)


def _source(name: str) -> Callable[[Path | None], Dataset]:
    module, _, function = SOURCES[name].partition(":")
    source: Callable[[Path | None], Dataset] = getattr(import_module(module), function)
    return source


def _from_path(path: Path) -> Dataset:
    from training import image_files

    if path.is_dir():
        return image_files.load_folder(path)
    if path.suffix == ".npz":
        return image_files.load_npz(path)
    return image_files.load_idx(path)


def _checked(dataset: Dataset) -> Dataset:
    """Refuses what training could not use, in words that name the set."""
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
