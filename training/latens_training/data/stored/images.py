"""Images of a split that are read and decoded on access, the next batch while a step runs."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latens import pictures
from latens_training.errors import DataError

if TYPE_CHECKING:
    from latens_training.config import Fit
    from latens_training.data.stored.stores import PictureStore

_PROBED = 64
_MOST_AHEAD = 2
"""Batches in memory before they are used: the one of the present step, and the next."""
_HASHED_SEPARATOR = b"\0"


class Rules(NamedTuple):
    """How each picture becomes an image of one shape."""

    channels: int
    height: int
    width: int
    fit: Fit | None
    """None: a picture of another size is refused."""

    @classmethod
    def of(cls, store: PictureStore, size: tuple[int, int] | None, fit: Fit) -> Rules:
        """Colour if any of some evenly spaced pictures is; the first one's size if none is given.

        Raises:
            DataError: a picture cannot be read.
        """
        rows = np.unique(np.linspace(0, len(store) - 1, _PROBED).astype(np.int64))
        probed = [_pixels(store, int(row)) for row in rows]
        height, width = size or probed[0].shape[1:]
        return cls(max(map(len, probed)), height, width, fit if size else None)


class StoredImages:
    """Pictures of a store, as `data.types.Images` has them: uint8 [n, c, h, w] on access."""

    dtype = torch.uint8

    def __init__(
        self,
        store: PictureStore,
        index: Tensor,
        rules: Rules,
        pool: ThreadPoolExecutor,
        device: torch.device | str = "cpu",
    ) -> None:
        self.store = store
        self.index = index
        """Which rows of the store these are, int64 [n]."""
        self.rules = rules
        self.device = device
        self._pool = pool
        self._ahead: list[tuple[Tensor, list[Future[pictures.Pixels]]]] = []

    @property
    def shape(self) -> torch.Size:
        return torch.Size(
            (len(self.index), self.rules.channels, self.rules.height, self.rules.width)
        )

    @property
    def identity(self) -> str:
        """What tells these images from others without reading them: names, sizes and rules."""
        digest = hashlib.sha256(repr(self.rules).encode())
        for row in self.index.tolist():
            digest.update(self.store.identity(row).encode() + _HASHED_SEPARATOR)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.index)

    def dim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Tensor) -> Tensor:
        """The images of an index or mask: uint8 [m, c, h, w] on the device.

        Raises:
            DataError: a picture cannot be read, or has another size.
        """
        chosen = self.index[index.cpu()]
        waiting = self._taken(chosen) or self._begun(chosen)
        images = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, future in enumerate(waiting):
            images[place] = future.result()
        return torch.from_numpy(images).to(self.device)

    def prefetch(self, index: Tensor) -> None:
        """Begins to read the images of an index, which an access soon is for."""
        chosen = self.index[index.cpu()]
        self._ahead = [*self._ahead[1 - _MOST_AHEAD :], (chosen, self._begun(chosen))]

    def to(self, device: torch.device | str) -> StoredImages:
        return StoredImages(self.store, self.index, self.rules, self._pool, device)

    def part(self, mask: Tensor) -> StoredImages:
        """Some of these images, read on access too."""
        return StoredImages(self.store, self.index[mask], self.rules, self._pool, self.device)

    def _begun(self, rows: Tensor) -> list[Future[pictures.Pixels]]:
        return [self._pool.submit(_image, self.store, row, self.rules) for row in rows.tolist()]

    def _taken(self, rows: Tensor) -> list[Future[pictures.Pixels]] | None:
        """What was read ahead, if it is this."""
        for place, (read, waiting) in enumerate(self._ahead):
            if torch.equal(read, rows):
                del self._ahead[place]
                return waiting
        return None


def _image(store: PictureStore, row: int, rules: Rules) -> pictures.Pixels:
    pixels = pictures.with_channels(_pixels(store, row), rules.channels)
    if rules.fit is not None:
        return pictures.fitted(pixels, rules.height, rules.width, how=rules.fit)
    if pixels.shape[1:] != (rules.height, rules.width):
        height, width = pixels.shape[1:]
        raise DataError(
            f"{store.name(row)}: {height} x {width} pixels (height x width), the first picture is "
            f"{rules.height} x {rules.width}; --image-size fits all pictures to one size"
        )
    return pixels


def _pixels(store: PictureStore, row: int) -> pictures.Pixels:
    try:
        return pictures.read(io.BytesIO(store.content(row)))
    except pictures.PictureError as error:
        reason = str(error).partition(": ")[2]
        raise DataError(f"{store.name(row)}: {reason}") from error
