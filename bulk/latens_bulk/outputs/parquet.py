"""Parts as Parquet files: a row per image, a column per head of the encoder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latens_bulk.outputs.rows import Floats, ShardRows

SUFFIX = ".parquet"
METADATA = b"latens"
"""The key of the schema's metadata that has the description as JSON."""
SHAPE = b"shape"
"""The key of a field's metadata that has the shape of one row as JSON."""


def write(path: Path, rows: ShardRows, description: dict[str, Any]) -> None:
    """Writes `key`, the latents as fixed-size lists, and what was kept."""
    fields, arrays = [pa.field("key", pa.string())], [pa.array(rows.keys, pa.string())]
    for name, values in rows.latents.items():
        shape = values.shape[1:]
        kind = pa.list_(pa.from_numpy_dtype(values.dtype), math.prod(shape))
        fields.append(pa.field(name, kind, metadata={SHAPE: json.dumps(shape)}))
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=kind))
    for name, kept in rows.columns.items():
        array = pa.array(kept)
        fields.append(pa.field(name, array.type))
        arrays.append(array)
    schema = pa.schema(fields, metadata={METADATA: json.dumps(description)})
    # Latents are noise to a compressor: compression would cost time and save nothing.
    pq.write_table(pa.table(arrays, schema=schema), path, compression="none", use_dictionary=False)


def read(path: Path, names: list[str]) -> tuple[list[str], dict[str, Floats]]:
    """The keys and some latents of a part."""
    table = pq.read_table(path, columns=["key", *names], memory_map=True)
    latents = {}
    for name in names:
        shape = json.loads(table.schema.field(name).metadata[SHAPE])
        values = table.column(name).combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks)
        latents[name] = values.flatten().to_numpy().reshape(len(values), *shape)
    return table.column("key").to_pylist(), latents


def column(path: Path, name: str) -> list[Any]:
    """All values of one column of a part."""
    values: list[Any] = pq.read_table(path, columns=[name]).column(name).to_pylist()
    return values


def row_count(path: Path) -> int:
    rows: int = pq.read_metadata(path).num_rows
    return rows
