"""Latents by what they were computed from, so that no image is encoded twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latens_bulk.errors import BulkError

_FILE = "latents.sqlite"
_QUERY_KEYS = 500
_WAIT_SECONDS = 60.0


class LatentCache:
    """A database of latents in a local folder, which several processes may share.

    The key of a row is the SHA-256 of the image's bytes, the preprocessing, the digest and the
    precision of the graph, and the provider that ran it: providers differ in the last bits.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], row_shape: tuple[int, ...]) -> None:
        self._facts = json.dumps(facts, sort_keys=True).encode()
        self._row_shape = row_shape
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(folder / _FILE, _WAIT_SECONDS, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS latents (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID"
            )
        except (OSError, sqlite3.Error) as error:
            raise BulkError(f"cache {folder}: {error}") from error

    def keys(self, images: Sequence[bytes] | NDArray[Any], *, mirrored: bool) -> list[bytes]:
        """The key of each image."""
        if isinstance(images, np.ndarray):
            kind = f"{images.dtype}{images.shape[1:]}".encode()
            contents: Sequence[bytes] = [row.tobytes() for row in images]
        else:
            kind, contents = b"file", images
        prefix = hashlib.sha256(self._facts + kind + (b"mirrored" if mirrored else b""))
        found = []
        for content in contents:
            digest = prefix.copy()
            digest.update(content)
            found.append(digest.digest())
        return found

    def get(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The rows that are known, `[heads, *latent_shape]` each."""
        found: dict[bytes, NDArray[np.float32]] = {}
        for start in range(0, len(keys), _QUERY_KEYS):
            part = keys[start : start + _QUERY_KEYS]
            marks = ",".join("?" * len(part))
            query = f"SELECT key, row FROM latents WHERE key IN ({marks})"  # noqa: S608
            with self._used():
                rows = self._database.execute(query, part).fetchall()
            for key, row in rows:
                found[key] = np.frombuffer(row, np.float32).reshape(self._row_shape)
        return found

    def put(self, keys: Sequence[bytes], rows: NDArray[np.float32]) -> None:
        """Adds rows `[n, heads, *latent_shape]`."""
        entries = [(key, row.tobytes()) for key, row in zip(keys, rows, strict=True)]
        with self._used(), self._database:
            self._database.executemany("INSERT OR IGNORE INTO latents VALUES (?, ?)", entries)

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _used(self) -> Iterator[None]:
        """One thread at a time: the reader asks while the encoder adds."""
        try:
            with self._lock:
                yield
        except sqlite3.Error as error:
            raise BulkError(f"cache: {error}") from error
