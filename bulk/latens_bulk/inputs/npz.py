"""npz archives of numpy: an array of images, and arrays of as many rows beside it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from latens_bulk.errors import BadDataError
from latens_bulk.inputs.files import InputFile
from latens_bulk.inputs.shards import Block, Extent, Selection, chosen, ranges

_IMAGES = ("images", "image", "x", "x_train", "arr_0")
_KEYS = ("key", "keys", "id", "ids")


@dataclass(frozen=True)
class NpzShard:
    """Some rows of an archive. Without an array of keys a row's key is `FILE:ROW`."""

    file: InputFile
    image: str
    key: str | None
    keep: tuple[str, ...]
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.file.name} rows {self.start}..{self.stop}"

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def measure(self) -> Extent:
        return Extent(self.file.digest, self.start, self.stop)

    def blocks(self, rows: int) -> Iterator[Block]:
        for start, stop in ranges(self.rows, rows):
            part = slice(self.start + start, self.start + stop)
            if self.key is None:
                keys = [f"{self.file.name}:{row}" for row in range(part.start, part.stop)]
            else:
                keys = [str(key) for key in _array(self.file, self.key)[part]]
            columns = {name: _array(self.file, name)[part].tolist() for name in self.keep}
            yield Block(keys, _array(self.file, self.image)[part], columns)


def npz_shards(files: Sequence[InputFile], shard_rows: int, selection: Selection) -> list[NpzShard]:
    return [shard for file in files for shard in _shards_of(file, shard_rows, selection)]


def _shards_of(file: InputFile, shard_rows: int, selection: Selection) -> list[NpzShard]:
    shapes = _shapes(file)
    present = list(shapes)
    image = chosen(file.name, present, selection.image, _IMAGES)
    if image is None and len(present) == 1:
        image = present[0]
    if image is None:
        raise BadDataError(f"{file.name}: which array has the images? --image-column NAME")
    key = chosen(file.name, present, selection.key, _KEYS)
    for name in selection.keep:
        chosen(file.name, present, name, ())
    rows = shapes[image][0] if shapes[image] else 0
    for name in filter(None, (key, *selection.keep)):
        if shapes[name][:1] != (rows,):
            raise BadDataError(f"{file.name}: {name}: expected {rows} rows, got {shapes[name]}")
    return [
        NpzShard(file, image, key, selection.keep, start, stop)
        for start, stop in ranges(rows, shard_rows)
    ]


def _shapes(file: InputFile) -> dict[str, tuple[int, ...]]:
    """The shape of each array, from its header alone."""
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shapes = {}
    try:
        with file.open() as opened, zipfile.ZipFile(opened) as archive:
            for member in archive.namelist():
                with archive.open(member) as array:
                    shapes[member.removesuffix(".npy")] = readers[npy.read_magic(array)](array)[0]
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
        raise BadDataError(f"{file.name}: not a readable npz archive") from error
    return shapes


@lru_cache(maxsize=8)
def _array(file: InputFile, name: str) -> NDArray[Any]:
    """An array of an archive; the last few are held, since consecutive shards share them."""
    try:
        with file.open() as opened, np.load(opened, allow_pickle=False) as archive:
            array: NDArray[Any] = archive[name]
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise BadDataError(f"{file.name}: {name}: not a readable array") from error
    return array
