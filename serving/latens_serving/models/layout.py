"""What lies in a repository's folder, `<root>/<model>/<version>/`; nothing of it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from latens_serving.bundle.schema import MODEL_NAME, VERSION_NAME

Fingerprint: TypeAlias = tuple[tuple[str, int, int], ...]
Key: TypeAlias = tuple[str, int]


def versions_in(root: Path, most: int) -> dict[Key, Fingerprint]:
    """The newest `most` versions of each model, by (name, version), each with a fingerprint.

    What is named otherwise than a model or a version is passed over.
    """
    found: dict[Key, Fingerprint] = {}
    for model in _subdirectories(root):
        if not MODEL_NAME.match(model.name):
            continue
        versions = [path for path in _subdirectories(model) if VERSION_NAME.match(path.name)]
        versions.sort(key=lambda path: int(path.name), reverse=True)
        for path in versions[:most]:
            found[model.name, int(path.name)] = _fingerprint(path)
    return found


def names_in(root: Path) -> list[str]:
    """The models that lie in a folder, whether or not they can be served."""
    return sorted(path.name for path in _subdirectories(root) if MODEL_NAME.match(path.name))


def _subdirectories(path: Path) -> list[Path]:
    try:
        return [child for child in path.iterdir() if child.is_dir()]
    except OSError:
        return []


def _fingerprint(directory: Path) -> Fingerprint:
    """Changes when any file of the bundle does."""
    try:
        files = [(path.name, path.stat()) for path in directory.iterdir()]
    except OSError:  # it went while we looked; the next look settles it
        return ()
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in files))
