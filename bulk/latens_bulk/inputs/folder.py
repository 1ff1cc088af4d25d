"""A folder of picture files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from latens_bulk.inputs.files import InputFile
from latens_bulk.inputs.shards import Block, Extent, Selection, ranges


@dataclass(frozen=True)
class PictureShard:
    """Some pictures of a folder, in the order of their names, which are the keys."""

    files: Sequence[InputFile]
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"{self.files[0].name}..{self.files[-1].name}"

    @property
    def rows(self) -> int:
        return len(self.files)

    def measure(self) -> Extent:
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.digest} {file.name}\n".encode())
        return Extent(digest.hexdigest(), self.start, self.stop)

    def blocks(self, rows: int) -> Iterator[Block]:
        for start, stop in ranges(len(self.files), rows):
            files = self.files[start:stop]
            yield Block([file.name for file in files], [file.read() for file in files])


def picture_shards(
    files: Sequence[InputFile], shard_rows: int, selection: Selection
) -> list[PictureShard]:
    del selection  # a folder has nothing to select
    return [
        PictureShard(files[start:stop], start, stop)
        for start, stop in ranges(len(files), shard_rows)
    ]
