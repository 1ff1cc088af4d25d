"""A data set: two splits of images of one shape, with labels and attributes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from latens_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HASHED_AT_ONCE = 8192
_TEST_SHARE = 10


class Images(Protocol):
    """What training needs of a split's images; usually a uint8 tensor [n, c, h, w]."""

    @property
    def shape(self) -> torch.Size: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """The images of an index tensor [m] (on the images' device): uint8 [m, c, h, w]."""
        ...

    def to(self, device: torch.device | str, /) -> Images: ...


@dataclass(frozen=True)
class Split:
    """A part of a data set: images uint8 [n, c, h, w], with their labels and attributes."""

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

    def part(self, mask: Tensor) -> Split:
        """The images of a mask, bool [n], with what is known of them."""
        return Split(
            part_of(self.images, mask),
            None if self.labels is None else self.labels[mask],
            {name: values[mask] for name, values in self.attributes.items()},
        )


@dataclass(frozen=True)
class Dataset:
    """Two splits of images of one shape."""

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...] = field(default=(), kw_only=True)
    """What the labels 0, 1, ... stand for; empty if not known."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.train.image_shape

    def label_count(self) -> int:
        """The number of classes: the labels are 0 up to it.

        Raises:
            DataError: a split has no labels, or one of them is negative.
        """
        splits = (self.train.labels, self.test.labels)
        known = [labels for labels in splits if labels is not None]
        if len(known) < len(splits) or not all(len(labels) for labels in known):
            raise DataError(f"{self.name}: a conditional model needs labels, and there are none")
        if min(int(labels.min()) for labels in known) < 0:
            raise DataError(f"{self.name}: a conditional model needs a label of every image")
        most = max(int(labels.max()) for labels in known)
        return max(most + 1, len(self.class_names))

    def digest(self) -> str:
        """SHA-256 of the images of both splits, in hexadecimal."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(str(tuple(split.images.shape)).encode())
            if identity := getattr(split.images, "identity", None):
                digest.update(identity.encode())  # of pictures that stay on disk
                continue
            for start in range(0, len(split.images), _HASHED_AT_ONCE):
                block = torch.arange(start, min(start + _HASHED_AT_ONCE, len(split.images)))
                digest.update(np.ascontiguousarray(split.images[block].numpy()).data)
        return digest.hexdigest()


def part_of(images: Tensor, mask: Tensor) -> Tensor:
    """The images of a mask; those that are made or read on access stay so."""
    part = getattr(images, "part", None)
    if part is None:
        return images[mask]
    some: Tensor = part(mask)
    return some


def with_test_part(name: str, split: Split, class_names: tuple[str, ...] = ()) -> Dataset:
    """A data set whose test part is every tenth image.

    Raises:
        DataError: there are fewer than two images.
    """
    if len(split) < 2:
        raise DataError(f"{name}: {len(split)} images; at least 2 are needed")
    test = torch.arange(len(split)) % _TEST_SHARE == min(_TEST_SHARE, len(split)) - 1
    return Dataset(name, split.part(~test), split.part(test), class_names=class_names)
