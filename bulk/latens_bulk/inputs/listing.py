"""Lists the shards of an input, whatever its kind."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import Any

from latens import pictures
from latens_bulk.errors import BadDataError
from latens_bulk.inputs.files import InputFile, files_of
from latens_bulk.inputs.folder import picture_shards
from latens_bulk.inputs.npz import npz_shards
from latens_bulk.inputs.parquet import parquet_shards
from latens_bulk.inputs.shards import Selection, Shard
from latens_bulk.inputs.webdataset import tar_shards

_KINDS: dict[str, Callable[[Sequence[InputFile], int, Selection], Sequence[Any]]] = {
    "pictures": picture_shards,
    "parquet": parquet_shards,
    "webdataset": tar_shards,
    "npz": npz_shards,
}
_SUFFIXES = {".parquet": "parquet", ".tar": "webdataset", ".npz": "npz"} | dict.fromkeys(
    pictures.SUFFIXES, "pictures"
)


def shards_of(location: str, shard_rows: int, selection: Selection) -> tuple[str, list[Shard]]:
    """The kind of an input and its shards, in an order that depends on names alone.

    Args:
        location: a folder, a file, a pattern, or a URL of one that fsspec reads.
        shard_rows: the most rows of a shard; a tar file is one shard.
        selection: which columns, arrays or members are read.

    Raises:
        NotFoundError: there is no such file or folder.
        BadDataError: it holds no images, or files of several kinds.
    """
    by_kind: dict[str, list[InputFile]] = {}
    for file in files_of(location):
        kind = _SUFFIXES.get(posixpath.splitext(file.name)[1].lower())
        if kind is not None:
            by_kind.setdefault(kind, []).append(file)
    if not by_kind:
        raise BadDataError(
            f"no images in {location}: expected pictures, or files that end in .parquet, .tar, .npz"
        )
    if len(by_kind) > 1:
        raise BadDataError(
            f"{location} holds files of several kinds ({', '.join(sorted(by_kind))}); "
            "name one of them, such as 'FOLDER/*.parquet'"
        )
    ((kind, files),) = by_kind.items()
    shards = list(_KINDS[kind](files, shard_rows, selection))
    if not shards:
        raise BadDataError(f"no images in {location}: the files have no rows")
    return kind, shards
