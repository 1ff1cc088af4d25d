"""The formats of an output, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latens_bulk.outputs import parquet, sd_scripts, webdataset
from latens_bulk.outputs.rows import ShardRows


@dataclass(frozen=True, slots=True)
class Format:
    """How parts are written and counted."""

    suffix: str
    write: Callable[[Path, ShardRows, dict[str, Any]], None]
    row_count: Callable[[Path], int]
    """Reads a part and returns its rows."""


FORMATS = {
    "parquet": Format(parquet.SUFFIX, parquet.write, parquet.row_count),
    "webdataset": Format(webdataset.SUFFIX, webdataset.write, webdataset.row_count),
    "sd-scripts": Format(sd_scripts.SUFFIX, sd_scripts.write, sd_scripts.row_count),
    "sd-scripts-sized": Format(sd_scripts.SUFFIX, sd_scripts.write, sd_scripts.row_count),
}
