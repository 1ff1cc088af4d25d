"""Looks into the folder of a repository and loads from it, without blocking the event loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from latens_serving.errors import BundleRefusedError
from latens_serving.models.background import run_in_background
from latens_serving.models.layout import Fingerprint, Key, versions_in
from latens_serving.models.model import LoadedModel

Load: TypeAlias = Callable[[Path], LoadedModel]

NO_LIMIT: Final = 0.0


class RepositoryFolder:
    """The folder `<root>/<model>/<version>/`."""

    def __init__(self, root: Path, load: Load, load_seconds: float) -> None:
        self._root = root
        self._load = load
        self._seconds = load_seconds

    async def versions(self) -> dict[Key, Fingerprint]:
        """The versions in the folder.

        Raises:
            OSError: it cannot be read.
        """
        scan = functools.partial(versions_in, self._root)
        return await run_in_background(scan, name="latens-scan")

    async def load(self, name: str, version: int) -> LoadedModel:
        """Loads a version.

        Raises:
            BundleRefusedError: it cannot be served, or takes too long.
            Exception: loading failed in any other way.
        """
        timeout = asyncio.timeout(None if self._seconds == NO_LIMIT else self._seconds)
        try:
            async with timeout:
                return await run_in_background(
                    functools.partial(self._load, self._root / name / str(version)),
                    name=f"latens-load-{name}-{version}",
                    discard=LoadedModel.close,
                )
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise BundleRefusedError(
                f"loading took longer than {self._seconds:g} s (--load-seconds)"
            ) from error
