"""Files of an input, local or at any URL that fsspec reads."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from latens_bulk.errors import BadDataError, NotFoundError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class InputFile:
    """One file: where it lies, and its name below the input."""

    filesystem: Any
    path: str
    name: str

    def open(self) -> IO[bytes]:
        try:
            opened: IO[bytes] = self.filesystem.open(self.path, "rb")
        except OSError as error:
            raise BadDataError(f"{self.name}: {error.strerror or error}") from error
        return opened

    def read(self) -> bytes:
        with self.open() as file:
            return file.read()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of a local file's content; of what the store says of a remote file.

        Stores say a checksum (ETag), or size and time of change: remote files are not read twice.
        """
        if not isinstance(self.filesystem, LocalFileSystem):
            return hashlib.sha256(str(self.filesystem.ukey(self.path)).encode()).hexdigest()
        digest = hashlib.sha256()
        with self.open() as file:
            while piece := file.read(_CHUNK_BYTES):
                digest.update(piece)
        return digest.hexdigest()


def files_of(location: str) -> list[InputFile]:
    """The files of a folder, of a pattern such as `shards/*.tar`, or the one file, by name.

    Hidden files and folders are ignored.

    Raises:
        NotFoundError: there is no such file or folder, or it cannot be read.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(location)
        if any(sign in path for sign in "*?["):
            found = filesystem.glob(path)
            root = posixpath.dirname(path.split("*")[0].split("?")[0].split("[")[0])
        elif filesystem.isdir(path):
            filesystem.ls(path)  # `find` hides that a folder cannot be read
            found, root = filesystem.find(path), path
        elif filesystem.exists(path):
            found, root = [path], posixpath.dirname(path)
        else:
            raise NotFoundError(f"no such file or folder: {location}")
    except (OSError, ImportError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NotFoundError(f"{location}: {reason}") from error
    names = {path: posixpath.relpath(path, root) for path in found}
    return [
        InputFile(filesystem, path, name)
        for path, name in sorted(names.items(), key=lambda item: item[1])
        if not any(part.startswith(".") for part in name.split("/"))
    ]
