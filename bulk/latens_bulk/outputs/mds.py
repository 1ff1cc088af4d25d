"""Parts as MDS shards, which `streaming.StreamingDataset` of mosaicml-streaming reads.

A shard is the number of samples and the offset of each (uint32), a description of the columns as
JSON, and the samples: the sizes of the columns of variable size (uint32), then all columns. The
shards of a folder are listed in `index.json`. The library itself is not needed to write them: it
wants an older numpy and the clients of every object store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from latens_bulk.errors import BadDataError
from latens_bulk.outputs.rows import Floats, ShardRows

SUFFIX = ".mds"
INDEX = "index.json"
_OFFSET = np.dtype("<u4")
_LARGEST = (1 << 32) - 1


def write(path: Path, rows: ShardRows, description: dict[str, Any]) -> None:
    """Writes `key`, the latents as arrays of fixed shape, and what was kept as JSON.

    Raises:
        BadDataError: the part would be larger than a shard can be, 4 GiB.
    """
    del description  # it lies beside the parts; a shard has no place for it
    sizes = {name: values[0].nbytes for name, values in rows.latents.items()}
    encodings = {"key": "str"} | dict.fromkeys(rows.columns, "json")
    for name, values in rows.latents.items():
        encodings[name] = f"ndarray:{values.dtype}:{','.join(map(str, values.shape[1:]))}"
    names = sorted(encodings)
    config = json.dumps(_config(names, encodings, sizes), sort_keys=True).encode()
    samples = [_sample(rows, row, names) for row in range(len(rows.keys))]
    head = _OFFSET.itemsize * (len(samples) + 2) + len(config)
    offsets = head + np.cumsum([0, *map(len, samples)])
    if offsets[-1] > _LARGEST:
        raise BadDataError("an MDS shard holds at most 4 GiB; choose a smaller --shard-rows")
    with path.open("wb") as file:
        file.write(np.array(len(samples), _OFFSET).tobytes())
        file.write(offsets.astype(_OFFSET).tobytes())
        file.write(config)
        file.writelines(samples)


def write_index(root: Path, parts: Iterable[str]) -> None:
    """Lists the parts of a finished output in `index.json`."""
    shards = []
    for part in parts:
        path = root / part
        raw = {"basename": part, "bytes": path.stat().st_size, "hashes": {}}
        content = path.read_bytes()
        offsets, config = _head(content)
        count = len(offsets) - 1
        shards.append({**config, "samples": count, "raw_data": raw, "zip_data": None})
    unfinished = root / f".{INDEX}.unfinished"
    unfinished.write_text(json.dumps({"version": 2, "shards": shards}, sort_keys=True))
    unfinished.replace(root / INDEX)


def row_count(path: Path) -> int:
    with path.open("rb") as file:
        return int(np.frombuffer(file.read(_OFFSET.itemsize), _OFFSET)[0])


def read(path: Path, names: list[str]) -> tuple[list[str], dict[str, Floats]]:
    """The keys and some latents of a part."""
    columns = {name: _column(path, name) for name in ("key", *names)}
    return columns["key"], {name: np.stack(columns[name]) for name in names}


def column(path: Path, name: str) -> list[Any]:
    """All values of one column of a part."""
    return _column(path, name)


def _column(path: Path, name: str) -> list[Any]:
    content = path.read_bytes()
    offsets, config = _head(content)
    place = config["column_names"].index(name)
    sizes, encoding = config["column_sizes"], config["column_encodings"][place]
    free = [at for at, size in enumerate(sizes) if size is None]
    values = []
    for start in offsets[:-1]:
        found = np.frombuffer(content, _OFFSET, len(free), int(start))
        lengths = list(sizes)
        for at, length in zip(free, found, strict=True):
            lengths[at] = int(length)
        begin = int(start) + found.nbytes + sum(lengths[:place])
        values.append(_decoded(content[begin : begin + lengths[place]], encoding))
    return values


def _decoded(value: bytes, encoding: str) -> Any:
    if encoding == "str":
        return value.decode()
    if encoding == "json":
        return json.loads(value)
    _, dtype, shape = encoding.split(":")
    return np.frombuffer(value, dtype).reshape([int(size) for size in shape.split(",")])


def _head(content: bytes) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """The offsets of the samples, and the description of the columns."""
    count = int(np.frombuffer(content, _OFFSET, 1)[0])
    offsets = np.frombuffer(content, _OFFSET, count + 1, _OFFSET.itemsize)
    begin = _OFFSET.itemsize * (count + 2)
    return offsets, json.loads(content[begin : offsets[0]])


def _config(names: list[str], encodings: dict[str, str], sizes: dict[str, int]) -> dict[str, Any]:
    return {
        "version": 2,
        "format": "mds",
        "compression": None,
        "hashes": [],
        "size_limit": None,
        "column_names": names,
        "column_encodings": [encodings[name] for name in names],
        "column_sizes": [sizes.get(name) for name in names],
    }


def _sample(rows: ShardRows, row: int, names: list[str]) -> bytes:
    pieces, sizes = [], []
    for name in names:
        if name in rows.latents:
            pieces.append(np.ascontiguousarray(rows.latents[name][row]).tobytes())
            continue
        value = rows.keys[row] if name == "key" else json.dumps(rows.columns[name][row])
        pieces.append(value.encode())
        sizes.append(len(pieces[-1]))
    return np.array(sizes, _OFFSET).tobytes() + b"".join(pieces)
