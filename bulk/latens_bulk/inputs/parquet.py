"""Parquet files: a column of picture files, or of lists of one size with the pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from latens_bulk.errors import BadDataError
from latens_bulk.inputs.files import InputFile
from latens_bulk.inputs.shards import Block, Extent, Selection, chosen, ranges

_IMAGES = ("image", "images", "bytes", "jpg", "png", "pixels")
_KEYS = ("key", "id", "__key__", "path", "file_name")


@dataclass(frozen=True)
class ParquetShard:
    """Some rows of a file. Without a column of keys a row's key is `FILE:ROW`."""

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
        at = self.start
        try:
            for batch in self._batches(rows):
                yield self._block(batch, at)
                at += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise BadDataError(f"{self.file.name}: {error}") from error

    def _batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of so many rows of the range; the file may be divided otherwise."""
        columns = [self.image, *filter(None, [self.key]), *self.keep]
        with self.file.open() as opened:
            parquet = pq.ParquetFile(opened)
            groups, first = _row_groups(parquet, self.start, self.stop)
            skip, left = self.start - first, self.rows
            for batch in parquet.iter_batches(rows, row_groups=groups, columns=columns):
                part = batch.slice(skip, left)
                skip = max(0, skip - batch.num_rows)
                left -= part.num_rows
                if part.num_rows:
                    yield part

    def _block(self, batch: pa.RecordBatch, at: int) -> Block:
        if self.key is None:
            keys = [f"{self.file.name}:{row}" for row in range(at, at + batch.num_rows)]
        else:
            keys = [str(key) for key in batch.column(self.key).to_pylist()]
        columns = {name: batch.column(name).to_pylist() for name in self.keep}
        where = f"{self.file.name}: {self.image}"
        return Block(keys, _images(batch.column(self.image), where), columns)


def parquet_shards(
    files: Sequence[InputFile], shard_rows: int, selection: Selection
) -> list[ParquetShard]:
    return [shard for file in files for shard in _shards_of(file, shard_rows, selection)]


def _shards_of(file: InputFile, shard_rows: int, selection: Selection) -> list[ParquetShard]:
    try:
        with file.open() as opened:
            parquet = pq.ParquetFile(opened)
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise BadDataError(f"{file.name}: not a readable Parquet file") from error
    image = chosen(file.name, schema.names, selection.image, _IMAGES)
    if image is None:
        raise BadDataError(
            f"{file.name}: which column has the images? --image-column, "
            f"one of {', '.join(schema.names)}"
        )
    key = chosen(file.name, schema.names, selection.key, _KEYS)
    for name in selection.keep:
        chosen(file.name, schema.names, name, ())
    return [
        ParquetShard(file, image, key, selection.keep, start, stop)
        for start, stop in ranges(rows, shard_rows)
    ]


def _row_groups(parquet: pq.ParquetFile, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold a range, and the row at which the first of them begins."""
    groups: list[int] = []
    first = at = 0
    for group in range(parquet.metadata.num_row_groups):
        end = at + parquet.metadata.row_group(group).num_rows
        if at < stop and end > start:
            if not groups:
                first = at
            groups.append(group)
        at = end
    return groups, first


def _images(column: pa.Array, where: str) -> list[bytes] | NDArray[Any]:
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:  # as `datasets` writes
        column, kind = column.field("bytes"), kind.field("bytes").type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [value or b"" for value in column.to_pylist()]
    lists = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    if any(is_kind(kind) for is_kind in lists):
        values = column.flatten()
        if column.null_count or len(values) % max(len(column), 1):
            raise BadDataError(f"{where}: expected lists of one size in every row")
        pixels: NDArray[Any] = np.asarray(values.to_numpy(zero_copy_only=False))
        return pixels.reshape(len(column), -1)
    raise BadDataError(f"{where}: expected picture files (binary) or lists of pixels, got {kind}")
