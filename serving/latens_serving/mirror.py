"""A remote repository, mirrored into the local one: any place that fsspec can read.

What is copied is a whole version at a time, into a folder beside and then by a rename, so that the
server never sees half of one; that it is whole and unchanged is found when it is loaded, by its
digests. A version that went at the source goes here too; one that was put here by hand stays.
Of several processes with the same local folder one copies at a time, and the others find it done.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from latens_serving.bundle.schema import MANIFEST_FILE, MODEL_NAME, VERSION_NAME

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

# Lies in each version that was copied, and says from what.
_RECORD: Final = ".source.json"
_INCOMING: Final = ".incoming-"
_REPLACED: Final = ".replaced-"
_FILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_LARGEST_FILE: Final = 8 << 30


class MirrorError(Exception):
    """A source that cannot be used; the text says why."""


class Mirror:
    """Copies what is new at a source, and removes what has gone there."""

    def __init__(self, url: str, repository: Path) -> None:
        """Makes one; nothing is read yet.

        Args:
            url: the remote folder, for example `s3://bucket/models`.
            repository: the local folder.

        Raises:
            MirrorError: fsspec, or what it needs for this kind of URL, is not installed.
        """
        try:
            from fsspec.core import url_to_fs

            self._files, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise MirrorError(f"{url}: {error} (pip install 'latens-serving[remote]')") from error
        self._url = url
        self._repository = repository

    def sync(self) -> None:
        """Brings the local folder in step; blocks. One bad version does not keep the others out.

        Raises:
            OSError: the source cannot be read.
        """
        self._repository.mkdir(parents=True, exist_ok=True)
        with _alone_in(self._repository):
            self._sync()

    def _sync(self) -> None:
        for kind in (_INCOMING, _REPLACED):  # left by a process that was killed
            for folder in self._repository.glob(f"{kind}*"):
                shutil.rmtree(folder, ignore_errors=True)
        self._files.invalidate_cache()
        found = self._versions()
        for (model, version), record in found.items():
            local = self._repository / model / version
            if _record_of(local) != record:
                self._fetch(model, version, record)
        for path in self._repository.glob(f"*/*/{_RECORD}"):
            if (path.parent.parent.name, path.parent.name) not in found:
                shutil.rmtree(path.parent)

    def _versions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """By model and version: what the source says of each file."""
        found = {}
        for model in self._names(self._root):
            if not MODEL_NAME.match(model):
                continue
            for version in self._names(f"{self._root}/{model}"):
                if VERSION_NAME.match(version):
                    listing = self._files.ls(f"{self._root}/{model}/{version}", detail=True)
                    files = {_name(entry): _stamp(entry) for entry in listing if _fits(entry)}
                    if MANIFEST_FILE in files:  # without it, it is still being written
                        found[model, version] = files
        return found

    def _names(self, folder: str) -> list[str]:
        entries = self._files.ls(folder, detail=True)
        return [_name(entry) for entry in entries if not _is_file(entry)]

    def _fetch(self, model: str, version: str, record: dict[str, Any]) -> None:
        incoming = self._repository / f"{_INCOMING}{secrets.token_hex(8)}"
        remote = f"{self._root}/{model}/{version}"
        facts = {"model": model, "version": version, "source": self._url}
        try:
            incoming.mkdir()
            for name in record:
                self._files.get_file(f"{remote}/{name}", str(incoming / name))
            (incoming / _RECORD).write_text(json.dumps(record))
            self._put(incoming, self._repository / model / version)
        except OSError as error:
            log.error("not copied", extra={"facts": facts | {"reason": str(error)}})  # noqa: TRY400
        else:
            log.info("copied", extra={"facts": facts})
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _put(self, incoming: Path, place: Path) -> None:
        place.parent.mkdir(exist_ok=True)
        if place.exists():  # another bundle under the same version: out of the way first
            replaced = self._repository / f"{_REPLACED}{secrets.token_hex(8)}"
            place.rename(replaced)
            incoming.rename(place)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            incoming.rename(place)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other process is in here; one that is killed is out."""
    if sys.platform == "win32":  # there one process has to do
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # so too where the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _record_of(local: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((local / _RECORD).read_text())
    except (OSError, ValueError):
        return None
    return record


def _name(entry: dict[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rsplit("/", 1)[-1]


def _fits(entry: dict[str, Any]) -> bool:
    """Whether it can be a file of a bundle; what else lies there is left there."""
    named_so = _FILE_NAME.match(_name(entry)) is not None
    return _is_file(entry) and named_so and (entry.get("size") or 0) <= _LARGEST_FILE


def _is_file(entry: dict[str, Any]) -> bool:
    return bool(entry["type"] == "file")


def _stamp(entry: dict[str, Any]) -> dict[str, Any]:
    """What changes when the file does, in the words of whichever store it is."""
    kept = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "created")
    stamp = {key: str(entry[key]) for key in kept if key in entry}
    return {"size": entry.get("size") or 0, **stamp}
