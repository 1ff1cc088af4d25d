"""Repositories of models that change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from latens_serving.models.loading import load
from latens_serving.models.model import LoadedModel
from latens_serving.settings import Settings


def add_version(
    repository: Path, version: int, change: Callable[[Path], None] | None = None
) -> Path:
    """A further version of mnist-2d, changed before it is seen."""
    unfinished = repository / ".unfinished"
    shutil.copytree(repository / "mnist-2d" / "1", unfinished)
    manifest = json.loads((unfinished / "bundle.json").read_text())
    (unfinished / "bundle.json").write_text(json.dumps(manifest | {"version": version}))
    if change is not None:
        change(unfinished)
    return unfinished.rename(repository / "mnist-2d" / str(version))


class Nobody:
    """An observer that ignores everything."""

    ran = lost = recomputed = staticmethod(lambda *_: None)


def load_bundle(directory: Path) -> LoadedModel:
    """Loads a bundle with the default settings."""
    return load(directory, Settings().load_options(), Nobody())
