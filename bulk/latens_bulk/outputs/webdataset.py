"""Parts as WebDataset shards: `ROW.mean.npy`, `ROW.log_var.npy` and `ROW.json` for each row."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from latens_bulk.outputs.rows import ShardRows

SUFFIX = ".tar"
DESCRIPTION_MEMBER = "latens.description.json"


def write(path: Path, rows: ShardRows, description: dict[str, Any]) -> None:
    """Writes the rows; names are numbers, and `ROW.json` has the key and what was kept."""
    with tarfile.open(path, "w") as archive:
        # WebDataset ignores members whose names begin with two underscores.
        _add(archive, f"__{DESCRIPTION_MEMBER}", json.dumps(description).encode())
        for row, key in enumerate(rows.keys):
            for name, values in rows.latents.items():
                content = io.BytesIO()
                np.save(content, values[row])
                _add(archive, f"{row:09d}.{name}.npy", content.getvalue())
            kept = {name: values[row] for name, values in rows.columns.items()}
            _add(archive, f"{row:09d}.json", json.dumps({"key": key, **kept}).encode())


def row_count(path: Path) -> int:
    with tarfile.open(path) as archive:
        return sum(1 for name in archive.getnames() if name.endswith(".json") and name[0] != "_")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
