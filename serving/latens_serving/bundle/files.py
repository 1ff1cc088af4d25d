"""Reads the files of a bundle, and writes its manifest.

A bundle may be hostile. Only regular files inside the repository are opened, and a file's size is
compared with the manifest and with a bound before a byte is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from pydantic import Field, TypeAdapter, ValidationError

from latens_serving.bundle.graph import LARGEST_GRAPH, LARGEST_WEIGHTS, LargeGraph
from latens_serving.bundle.memory import available_bytes
from latens_serving.bundle.schema import BundleError, BundleManifest, FileRecord
from latens_serving.bundle.schema_1 import ManifestOfSchema1, from_schema_1

MANIFEST_FILE = "bundle.json"
LARGEST_MANIFEST: Final = 16 << 20
LARGEST_NPZ: Final = 256 << 20

_ANY_SCHEMA: TypeAdapter[BundleManifest | ManifestOfSchema1] = TypeAdapter(
    Annotated[BundleManifest | ManifestOfSchema1, Field(discriminator="schema_version")]
)
_CHUNK_BYTES = 1 << 20
# Opening a FIFO for reading would otherwise wait for a writer, who may never come.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def read_manifest(directory: Path) -> BundleManifest:
    """Reads and checks `bundle.json`.

    Args:
        directory: the bundle's directory, `<repository>/<model>/<version>`.

    Raises:
        BundleError: the manifest is missing, unreadable, of another schema, or names another model
            or version than its directory does.
    """
    with _opened(directory, MANIFEST_FILE) as (file, size):
        if size > LARGEST_MANIFEST:
            raise BundleError(f"{MANIFEST_FILE}: {size} bytes, at most {LARGEST_MANIFEST}")
        content = file.read(size)
    manifest = _parsed(content)
    expected = (directory.parent.name, directory.name)
    if (manifest.name, str(manifest.version)) != expected:
        raise BundleError(
            f"{MANIFEST_FILE}: says {manifest.name}/{manifest.version}, "
            f"but lies in {'/'.join(expected)}"
        )
    return manifest


def _parsed(content: bytes) -> BundleManifest:
    """The manifest in the form of the present schema, whichever it was written in."""
    try:
        manifest = _ANY_SCHEMA.validate_json(content)
        return manifest if isinstance(manifest, BundleManifest) else from_schema_1(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        # The union puts the schema's number first.
        path = [str(part) for part in first["loc"]]
        path = path[1:] if path[:1] in (["1"], ["2"]) else path
        where = ".".join(path) or "document"
        raise BundleError(f"{MANIFEST_FILE}: {where}: {first['msg']}") from error


def verified_bytes(directory: Path, record: FileRecord, largest: int = LARGEST_GRAPH) -> bytes:
    """Reads a whole file of the bundle, and checks its size and digest.

    The bytes that were checked are returned: nothing is read twice.

    Args:
        directory: the bundle's directory.
        record: what the manifest says of the file.
        largest: the most bytes that a file of this kind may have.

    Raises:
        BundleError: the file is missing, no regular file inside the repository, too large,
            truncated or changed.
    """
    with _opened(directory, record.name) as (file, size):
        _check_size(record, size, largest)
        content = file.read(size)
    _check_content(record, len(content), hashlib.sha256(content).hexdigest())
    return content


def verified_graph(directory: Path, manifest: BundleManifest, graph: str) -> bytes:
    """Reads a graph, a `LargeGraph` if its weights are in a file of their own.

    Raises:
        BundleError: as `verified_bytes` does, or the weights exceed the memory that is available.
    """
    content = verified_bytes(directory, manifest.graphs[graph])
    weights = manifest.weights.get(graph)
    if weights is None:
        return content
    available = available_bytes()
    if available is not None and weights.size > available:
        raise BundleError(
            f"{weights.name}: {weights.size} bytes, but only {available} of memory are available"
        )
    held = verified_bytes(directory, weights, LARGEST_WEIGHTS)
    return LargeGraph.of(content, weights.name, held)


def verify_files(directory: Path, manifest: BundleManifest) -> None:
    """Checks the size and digest of every file that the manifest names, a piece at a time.

    Raises:
        BundleError: as `verified_bytes` does.
    """
    weights = list(manifest.weights.values())
    others = (*manifest.graphs.values(), manifest.probe, *manifest.optional_files)
    for record in (*others, *weights):
        with _opened(directory, record.name) as (file, size):
            _check_size(record, size, LARGEST_WEIGHTS if record in weights else LARGEST_GRAPH)
            digest, length = hashlib.sha256(), 0
            while piece := file.read(_CHUNK_BYTES):
                digest.update(piece)
                length += len(piece)
        _check_content(record, length, digest.hexdigest())


def record_of(name: str, content: bytes) -> FileRecord:
    return FileRecord(name=name, sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def manifest_json(manifest: BundleManifest) -> bytes:
    return (json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n").encode()


def _check_size(record: FileRecord, size: int, largest: int) -> None:
    if size != record.size:
        raise BundleError(f"{record.name}: {size} bytes, the manifest says {record.size}")
    if size > largest:
        raise BundleError(f"{record.name}: {size} bytes, at most {largest}")


def _check_content(record: FileRecord, length: int, digest: str) -> None:
    if length != record.size:
        raise BundleError(f"{record.name}: {length} bytes, the manifest says {record.size}")
    if digest != record.sha256:
        raise BundleError(f"{record.name}: the SHA-256 digest differs from the manifest's")


@contextlib.contextmanager
def _opened(directory: Path, name: str) -> Iterator[tuple[BinaryIO, int]]:
    """Opens a regular file inside the repository; yields it and its size."""
    try:
        descriptor = os.open(_path_inside(directory, name), _OPEN_FLAGS)
    except OSError as error:
        raise BundleError(f"{name}: {error.strerror or error}") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{name}: expected a regular file")
        try:
            yield file, status.st_size
        except OSError as error:
            raise BundleError(f"{name}: {error.strerror or error}") from error


def _path_inside(directory: Path, name: str) -> Path:
    """The file's path without links.

    Links are common in repositories (a Kubernetes volume, a cache that is shared), so those that
    stay inside are followed.
    """
    repository = os.path.realpath(directory.absolute().parents[1])
    path = Path(os.path.realpath(directory / name, strict=True))
    if not path.is_relative_to(repository):
        raise BundleError(f"{name}: is a link that leaves the repository")
    if not stat.S_ISREG(path.lstat().st_mode):  # before it is opened: that of a device has effects
        raise BundleError(f"{name}: expected a regular file")
    return path
