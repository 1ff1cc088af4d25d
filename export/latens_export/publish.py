"""Adds a bundle to a repository under a new version: completely and durably, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from latens_export.errors import ExportError
from latens_serving.bundle.files import MANIFEST_FILE, manifest_json
from latens_serving.bundle.schema import VERSION_NAME, BundleManifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_STAGING_PREFIX = ".partial-"
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


@contextlib.contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A new directory inside the repository that no server looks at, gone when the block ends.

    Made before the work that fills it, so that a repository that cannot be written is known at
    once. What of the repository's path did not exist before is removed again if the block fails.

    Raises:
        ExportError: the repository cannot be written.
    """
    made = [path for path in (repository, *repository.parents) if not path.exists()]
    directory = repository / f"{_STAGING_PREFIX}{secrets.token_hex(8)}"
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        _remove_empty(made)
        raise _not_writable(repository, error) from error
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        _remove_empty(made)


def publish(
    staged: Path,
    name: str,
    files: dict[str, bytes],
    manifest_of: Callable[[int], BundleManifest],
) -> Path:
    """Writes a bundle's files and moves it to the next free version of a model.

    Two exporters may do this at once: a rename is the claim to a number, and who finds it taken
    goes on to the next.

    Args:
        staged: a directory from `staging`.
        name: the model's name.
        files: the files' contents by name, without the manifest.
        manifest_of: makes the manifest for a version.

    Returns:
        The bundle's directory.

    Raises:
        ExportError: it cannot be written; nothing is left of it.
    """
    repository = staged.parent
    model = repository / name
    made_model = not model.exists()
    try:
        for file_name, content in files.items():
            _write_durably(staged / file_name, content)
        model.mkdir(exist_ok=True)
        return _claim(staged, model, manifest_of)
    except OSError as error:
        raise _not_writable(model, error) from error
    finally:
        if made_model:
            _remove_empty([model])


def _claim(staged: Path, model: Path, manifest_of: Callable[[int], BundleManifest]) -> Path:
    version = _next_version(model)
    while True:
        _write_durably(staged / MANIFEST_FILE, manifest_json(manifest_of(version)))
        _sync_directory(staged)
        target = model / str(version)
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            version += 1
            continue
        _sync_directory(model)
        _sync_directory(model.parent)
        return target


def _next_version(model: Path) -> int:
    versions = (int(path.name) for path in model.iterdir() if VERSION_NAME.match(path.name))
    return max(versions, default=0) + 1


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    if os.name != "posix":  # elsewhere a directory cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty(directories: list[Path]) -> None:
    """Removes the directories that are empty, from the innermost out."""
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()


def _not_writable(path: Path, error: OSError) -> ExportError:
    return ExportError(f"repository: {path} cannot be written: {error.strerror or error}")
