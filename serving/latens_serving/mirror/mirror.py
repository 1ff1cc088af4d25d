"""Copies a remote repository, from any place that fsspec can read, into a local folder.

A version is copied into a temporary folder, verified against its manifest, and then renamed into
place, so that a server never sees an incomplete version. Versions that were put into the local
folder by hand are not changed. If several processes share a local folder, one copies at a time, and
the others find the versions already copied.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from latens_serving.bundle.files import MANIFEST_FILE, read_manifest, verify_files
from latens_serving.bundle.graph import LARGEST_GRAPH, LARGEST_WEIGHTS
from latens_serving.bundle.schema import MODEL_NAME, VERSION_NAME, BundleError

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, str]
Record: TypeAlias = dict[str, Any]
"""By file of a version: the facts that the store reports and that change with the file."""

# A file in each copied version, with the record of its source.
_RECORD: Final = ".source.json"
_INCOMING: Final = ".incoming-"
_REPLACED: Final = ".replaced-"
_FILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_STAMPS: Final = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "created")


class MirrorError(Exception):
    """A source cannot be used; the message says why."""


class Mirror:
    """Copies new versions, and removes those that were removed at the source."""

    def __init__(self, url: str, repository: Path, max_versions: int = 4) -> None:
        """Reads nothing yet.

        Args:
            url: the remote folder, for example `s3://bucket/models`.
            repository: the local folder.
            max_versions: the number of newest versions to copy per model.

        Raises:
            MirrorError: fsspec, or a package that it needs for this kind of URL, is not installed.
        """
        try:
            from fsspec.core import url_to_fs

            self._files, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise MirrorError(f"{url}: {error} (pip install 'latens-serving[remote]')") from error
        self._url = url
        self._repository = repository
        self._max_versions = max_versions
        self._missing: set[Key] = set()
        self._refused: dict[Key, Record] = {}

    def sync(self) -> None:
        """Updates the local folder from the source; blocks. A bad version does not stop the others.

        A version is removed after it was absent in two consecutive reads, so that a version that is
        being replaced at the source stays.

        Raises:
            OSError: the source cannot be read. Nothing was removed.
        """
        self._repository.mkdir(parents=True, exist_ok=True)
        with _exclusive(self._repository):
            self._remove_leftovers()
            self._files.invalidate_cache()
            present = self._present()
            for key in self._to_copy(present):
                self._copy_if_changed(key)
            self._remove_missing(present)

    def _remove_leftovers(self) -> None:
        """Removes the temporary files of a process that was killed."""
        for kind in (_INCOMING, _REPLACED):
            for folder in self._repository.glob(f"{kind}*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _present(self) -> set[Key]:
        """The versions with a folder at the source, complete or not."""
        return {
            (model, version)
            for model in self._folders(self._root)
            if MODEL_NAME.match(model)
            for version in self._folders(f"{self._root}/{model}")
            if VERSION_NAME.match(version)
        }

    def _folders(self, folder: str) -> list[str]:
        entries = self._files.ls(folder, detail=True)
        return [_name(entry) for entry in entries if not _is_file(entry)]

    def _to_copy(self, present: set[Key]) -> list[Key]:
        """The newest versions of each model."""
        newest = []
        for model in sorted({model for model, _ in present}):
            versions = sorted((key for key in present if key[0] == model), key=_number)
            newest += versions[-self._max_versions :]
        return newest

    def _copy_if_changed(self, key: Key) -> None:
        record = self._record_at_source(key)
        if MANIFEST_FILE not in record:  # it is being written
            return
        known = (_record_of(self._place(key)), self._refused.get(key))
        if record not in known:
            self._copy(key, record)

    def _record_at_source(self, key: Key) -> Record:
        try:
            listing = self._files.ls(f"{self._root}/{'/'.join(key)}", detail=True)
        except FileNotFoundError:  # removed meanwhile
            return {}
        return {_name(entry): _stamp(entry) for entry in listing if _fits(entry)}

    def _copy(self, key: Key, record: Record) -> None:
        incoming = self._repository / f"{_INCOMING}{secrets.token_hex(8)}"
        copied = incoming.joinpath(*key)
        facts = {"model": key[0], "version": key[1], "source": self._url}
        try:
            copied.mkdir(parents=True)
            for name in record:
                self._files.get_file(f"{self._root}/{'/'.join(key)}/{name}", str(copied / name))
            verify_files(copied, read_manifest(copied))
            (copied / _RECORD).write_text(json.dumps(record))
            self._put(copied, self._place(key))
        except BundleError as error:
            self._refused[key] = record  # not copied again until it changes
            log.error("not copied", extra={"facts": facts | {"reason": str(error)}})  # noqa: TRY400
        except OSError as error:
            log.error("not copied", extra={"facts": facts | {"reason": str(error)}})  # noqa: TRY400
        else:
            self._refused.pop(key, None)
            log.info("copied", extra={"facts": facts})
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _put(self, copied: Path, place: Path) -> None:
        place.parent.mkdir(exist_ok=True)
        if place.exists():  # another bundle under the same version
            replaced = self._repository / f"{_REPLACED}{secrets.token_hex(8)}"
            place.rename(replaced)
            copied.rename(place)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            copied.rename(place)

    def _remove_missing(self, present: set[Key]) -> None:
        copied = {
            (path.parent.parent.name, path.parent.name)
            for path in self._repository.glob(f"*/*/{_RECORD}")
        }
        missing = copied - present
        for key in missing & self._missing:
            shutil.rmtree(self._place(key))
            log.info("removed", extra={"facts": {"model": key[0], "version": key[1]}})
        self._missing = missing

    def _place(self, key: Key) -> Path:
        return self._repository.joinpath(*key)


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Waits until no other process is in this block; the kernel frees the lock of a killed one."""
    if sys.platform == "win32":  # one process only there
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _number(key: Key) -> int:
    return int(key[1])


def _record_of(local: Path) -> Record | None:
    try:
        record: Record = json.loads((local / _RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]


def _fits(entry: dict[str, Any]) -> bool:
    """Whether the entry can be a file of a bundle; other files are not copied."""
    fits_name = _FILE_NAME.match(_name(entry)) is not None
    most = LARGEST_WEIGHTS if _name(entry).endswith(".weights") else LARGEST_GRAPH
    return _is_file(entry) and fits_name and (entry.get("size") or 0) <= most


def _is_file(entry: dict[str, Any]) -> bool:
    return bool(entry["type"] == "file")


def _stamp(entry: dict[str, Any]) -> dict[str, Any]:
    stamp: dict[str, Any] = {key: str(entry[key]) for key in _STAMPS if key in entry}
    return {"size": entry.get("size") or 0, **stamp}
