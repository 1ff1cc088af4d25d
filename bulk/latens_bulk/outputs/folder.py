"""The output: a description, one record per finished shard, the parts, and a manifest.

```
OUTPUT/
  description.json       model, preprocessing and format; written first, never changed
  shards/000012.json     the record of a shard: its part, rows, digests, skipped images
  part-000012-INPUT-MODEL-START-STOP.parquet
  claims/                who works on which shard
  unfinished/            parts that are being written
  manifest.json          all records, once every shard is finished
```

A part is written under `unfinished/`; then its record is written; then the part is renamed into
place. So a shard is finished when both exist, and a process that dies at any moment leaves either
a finished shard or one that will be done again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from latens_bulk.errors import BadDataError, BulkError, NotFoundError
from latens_bulk.inputs.shards import Extent

DESCRIPTION, MANIFEST = "description.json", "manifest.json"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What is known of a finished shard."""

    index: int
    input: str
    input_digest: str
    start: int
    stop: int
    part: str
    rows: int
    size: int
    sha256: str
    provider: str
    skipped: list[dict[str, str]] = field(default_factory=list)
    """Key and reason of each image that could not be encoded."""


class OutputFolder:
    """A folder of parts that all have the same description."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self, description: dict[str, Any]) -> None:
        """Makes the folder, or checks that what it holds has the same description.

        Raises:
            BadDataError: it holds something else; the message names the first difference.
        """
        with disk_errors(self.root):
            for folder in ("shards", "claims", "unfinished"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            path = self.root / DESCRIPTION
            mine = json.loads(json.dumps(description))
            if not path.exists():
                if any(self.root.glob("part-*")):
                    raise BadDataError(f"{self.root}: has parts, but no {DESCRIPTION}")
                try:
                    _write_new(path, _json(mine), self.unfinished(path.name))
                except FileExistsError:  # another process was faster
                    pass
                else:
                    return
            theirs = self.description()
        if difference := next(_differences(mine, theirs), None):
            name, wanted, found = difference
            if name in ("input.shards", "input.listing"):
                said = "was made from another list of files or rows"
            else:
                said = f"was made otherwise: {name} is {found!r} there, and {wanted!r} now"
            raise BadDataError(f"{self.root} {said}. Choose another OUTPUT")

    def description(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.root / DESCRIPTION).read_text())
        except FileNotFoundError as error:
            raise NotFoundError(f"no latents in {self.root}: no {DESCRIPTION}") from error
        except ValueError as error:
            raise BadDataError(f"{self.root / DESCRIPTION}: not readable as JSON") from error
        return found

    def record(self, index: int) -> ShardRecord | None:
        """The record of a shard, if it is finished."""
        try:
            found = ShardRecord(**json.loads(self._record_path(index).read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise BadDataError(f"{self._record_path(index)}: not a readable record") from error
        path = self.root / found.part
        return found if path.exists() and path.stat().st_size == found.size else None

    def unfinished(self, name: str) -> Path:
        """Where a part is written before it is finished; this process's own."""
        return self.root / "unfinished" / f"{socket.gethostname()}-{os.getpid()}-{name}"

    def finish(self, record: ShardRecord, written: Path) -> None:
        """Makes a written part a finished one."""
        path = self._record_path(record.index)
        mine = self.unfinished(path.name)
        mine.write_bytes(_json(asdict(record)))
        synced(mine)
        mine.replace(path)
        written.replace(self.root / record.part)

    def remove_leftovers(self) -> None:
        """Removes what processes of this machine were writing when they ended."""
        with disk_errors(self.root):
            for path in (self.root / "unfinished").iterdir():
                host, _, rest = path.name.rpartition(f"{socket.gethostname()}-")
                pid = rest.partition("-")[0]
                if not host and pid.isdigit() and not is_running(int(pid)):
                    path.unlink(missing_ok=True)

    def write_manifest(self, records: list[ShardRecord]) -> None:
        content = {
            "description": self.description(),
            "rows": sum(record.rows for record in records),
            "skipped": sum(len(record.skipped) for record in records),
            "shards": [asdict(record) for record in records],
        }
        mine = self.unfinished(MANIFEST)
        with disk_errors(self.root):
            mine.write_bytes(_json(content))
            synced(mine)
            mine.replace(self.root / MANIFEST)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest; None while shards are missing."""
        try:
            found: dict[str, Any] = json.loads((self.root / MANIFEST).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BadDataError(f"{self.root / MANIFEST}: not readable as JSON") from error
        return found

    def _record_path(self, index: int) -> Path:
        return self.root / "shards" / f"{index:06d}.json"


def part_name(index: int, extent: Extent, encoder_sha256: str, suffix: str) -> str:
    return (
        f"part-{index:06d}-{extent.digest[:12]}-{encoder_sha256[:12]}"
        f"-{extent.start}-{extent.stop}{suffix}"
    )


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def synced(path: Path) -> None:
    """Returns once the file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def is_running(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turns a full disk, a missing right and the like into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BulkError(f"{root}: the disk is full; finished shards stay") from error
        raise BulkError(f"{error.filename or root}: {error.strerror or error}") from error


def _write_new(path: Path, content: bytes, mine: Path) -> None:
    """Writes a file that must not exist, whole or not at all, by way of a file of one's own."""
    mine.write_bytes(content)
    synced(mine)
    try:
        os.link(mine, path)
    finally:
        mine.unlink()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def _differences(mine: Any, theirs: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in mine | theirs:
            below = f"{name}.{key}".removeprefix(".")
            yield from _differences(mine.get(key), theirs.get(key), below)
    elif mine != theirs:
        yield name, mine, theirs
