"""The layout of a repository, `<root>/<model>/<version>/`. Files of bundles are not opened here."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from latens_serving.bundle.schema import MODEL_NAME, VERSION_NAME

Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]
Key: TypeAlias = tuple[str, int]


def versions_in(root: Path) -> dict[Key, Fingerprint]:
    """The versions of each model, by (name, version), each with a fingerprint.

    Folders whose names are no model's or version's are ignored, and so is a root that is not there.

    Raises:
        OSError: the root cannot be read.
    """
    if not root.exists():
        return {}
    return {
        (model.name, int(path.name)): _fingerprint(path)
        for model in list(root.iterdir())
        if MODEL_NAME.match(model.name)
        for path in _subdirectories(model)
        if VERSION_NAME.match(path.name)
    }


def names_in(root: Path) -> list[str]:
    """The names of the models in a folder, whether or not they can be served."""
    return sorted(path.name for path in _subdirectories(root) if MODEL_NAME.match(path.name))


def _subdirectories(path: Path) -> list[Path]:
    try:
        return [child for child in path.iterdir() if child.is_dir()]
    except OSError:
        return []


def _fingerprint(directory: Path) -> Fingerprint:
    """Changes when any file of the bundle does."""
    found = []
    try:
        for path in directory.iterdir():
            # Of a link, of what it points to; of one that points nowhere, its own.
            status = path.stat() if path.exists() else path.lstat()
            found.append((path.name, status.st_size, status.st_mtime_ns))
    except OSError:  # removed meanwhile; the next look settles it
        return ()
    return tuple(sorted(found))
