"""Files that are either whole or as they were: written beside, flushed, renamed into place."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from latens_training.errors import TrainingError


def make_directory(path: Path) -> None:
    """Makes a directory and its parents.

    Raises:
        TrainingError: it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be made: {error.strerror or error}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise TrainingError(f"{path}: not writable")


def write_whole(path: Path, content: bytes) -> None:
    """Replaces a file's content; whatever fails or kills us, the file is the old or the new one.

    Raises:
        TrainingError: the disk is full, the directory is not writable, and the like.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
        _flush_directory(path.parent)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise TrainingError(f"{path}: not saved: {error.strerror or error}") from error


def remove_leftovers(directory: Path) -> None:
    """Removes the temporary files of writers that were killed."""
    for path in directory.glob(".*.*.????????"):
        with contextlib.suppress(OSError):
            path.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
