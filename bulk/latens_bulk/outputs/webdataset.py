"""Parts as WebDataset shards: `ROW.mean.npy`, `ROW.log_var.npy` and `ROW.json` for each row."""

from __future__ import annotations

import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from latens_bulk.outputs.rows import Floats, ShardRows

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


def read(path: Path, names: list[str]) -> tuple[list[str], dict[str, Floats]]:
    """The keys and some latents of a part."""
    members = _members(path)
    latents = {
        name: np.stack([np.load(io.BytesIO(content)) for content in members[f"{name}.npy"]])
        for name in names
    }
    return column(path, "key"), latents


def column(path: Path, name: str) -> list[Any]:
    """All values of one column of a part."""
    return [json.loads(content)[name] for content in _members(path)["json"]]


def _members(path: Path) -> dict[str, list[bytes]]:
    """The contents of the members by extension, in the order of the rows."""
    found: dict[str, list[bytes]] = defaultdict(list)
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None and not member.name.startswith("__"):
                found[member.name.partition(".")[2]].append(file.read())
    return found


def row_count(path: Path) -> int:
    with tarfile.open(path) as archive:
        return sum(1 for name in archive.getnames() if name.endswith(".json") and name[0] != "_")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
