"""The formats of an output, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latens_bulk.outputs import mds, parquet, sd_scripts, webdataset
from latens_bulk.outputs.rows import Floats, ShardRows


@dataclass(frozen=True, slots=True)
class Format:
    """How parts are written, counted and read."""

    suffix: str
    write: Callable[[Path, ShardRows, dict[str, Any]], None]
    row_count: Callable[[Path], int]
    """Reads a part and returns its rows."""
    read: Callable[[Path, list[str]], tuple[list[str], dict[str, Floats]]]
    """The keys and some latents of a part."""
    column: Callable[[Path, str], list[Any]]
    """The keys, or what was kept, of a part."""
    write_index: Callable[[Path, Iterable[str]], None] = lambda root, parts: None
    """Lists the parts of a finished output in the way of the format."""
    holds: tuple[str, ...] | None = None
    """The latents that can be read back; None for all that were written."""


_SD_SCRIPTS = Format(
    sd_scripts.SUFFIX,
    sd_scripts.write,
    sd_scripts.row_count,
    sd_scripts.read,
    sd_scripts.column,
    holds=("mean",),
)

FORMATS = {
    "parquet": Format(
        parquet.SUFFIX, parquet.write, parquet.row_count, parquet.read, parquet.column
    ),
    "webdataset": Format(
        webdataset.SUFFIX,
        webdataset.write,
        webdataset.row_count,
        webdataset.read,
        webdataset.column,
    ),
    "mds": Format(mds.SUFFIX, mds.write, mds.row_count, mds.read, mds.column, mds.write_index),
    "sd-scripts": _SD_SCRIPTS,
    "sd-scripts-sized": _SD_SCRIPTS,
} | dict.fromkeys(sd_scripts.FAMILIES, _SD_SCRIPTS)
