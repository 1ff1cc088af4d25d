"""The models that a server holds, and the choice of one by name and version.

`refresh` makes the models follow the folder `<root>/<model>/<version>/`. A new version is loaded
beside those that serve and takes over once it is ready. A removed one is drained. One that cannot
be served stays listed with the reason, and is tried again when its files change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from latens_serving.errors import BundleRefusedError, ModelNotFoundError, NotReadyError
from latens_serving.models.default_model import DefaultModel
from latens_serving.models.entry import Entry, State
from latens_serving.models.layout import Fingerprint, Key
from latens_serving.models.model import LoadedModel
from latens_serving.models.not_found import unknown_model, unknown_version
from latens_serving.models.refusal import reason_of
from latens_serving.models.repository_folder import NO_LIMIT, Load, RepositoryFolder

__all__ = ["Entry", "Repository", "State"]

log = logging.getLogger(__name__)


class Repository:
    """The models of one folder. Belongs to the event loop; loading runs in threads."""

    def __init__(
        self,
        root: Path,
        load: Load,
        *,
        default_model: str = "",
        shared_default: Path | None = None,
        max_versions: int = 4,
        load_seconds: float = NO_LIMIT,
        unwanted: Iterable[Key] = (),
    ) -> None:
        """Starts empty; `refresh` fills it.

        Args:
            root: the folder.
            load: turns the directory of a bundle into a model; what it raises becomes a refusal.
            default_model: the meaning of an empty name; empty for the first ready one by name,
                chosen once.
            shared_default: see `DefaultModel`.
            max_versions: how many versions of a model are held, the newest that can be served.
            load_seconds: how long loading one version may take; 0 for no limit.
            unwanted: versions that are not loaded until `load` is called for them.
        """
        self._folder = RepositoryFolder(root, load, load_seconds)
        self._default = DefaultModel(default_model, shared_default)
        self._max_versions = max_versions
        self._entries: dict[Key, Entry] = {}
        self._draining: list[Entry] = []
        self._unwanted = set(unwanted)
        self._settled = False
        self._refreshing = asyncio.Lock()
        self._picked: dict[tuple[str, str], LoadedModel] = {}  # a cache of `pick`, until a change
        self._listeners: list[Callable[[Entry], None]] = []

    def on_change(self, listener: Callable[[Entry], None]) -> None:
        """Registers a callback for state changes of entries."""
        self._listeners.append(listener)

    @property
    def default_name(self) -> str:
        """The meaning of an empty model name; empty while nothing has been ready."""
        return self._default.name

    def entries(self) -> list[Entry]:
        """All versions, held or refused, by name, newest first."""
        self._draining = [entry for entry in self._draining if not entry.has_ended]
        everything = [*self._entries.values(), *self._draining]
        return sorted(everything, key=lambda entry: entry.sort_key)

    def ready_models(self) -> list[LoadedModel]:
        """The versions that can answer, by name, newest first."""
        return [
            entry.model
            for entry in self.entries()
            if entry.state is State.READY and entry.model is not None
        ]

    def pick(self, name: str, version: str) -> LoadedModel:
        """The model that a request means.

        Raises:
            ModelNotFoundError: no such model or version.
            NotReadyError: it exists and cannot answer (yet).
        """
        model = self._picked.get((name, version))
        if model is None:
            model = self.entry(name, version).model
            if model is None:
                raise NotReadyError(f"model {name or 'default'!r} is not ready", retry_after=1.0)
            self._picked[name, version] = model
        return model

    def entry(self, name: str, version: str) -> Entry:
        """The entry that a request means; raises as `pick` does."""
        name = name or self.default_name
        held = [entry for entry in self._entries.values() if entry.name == name]
        if not held and not self._settled:
            raise NotReadyError("the models are being loaded", retry_after=1.0)
        if not held:
            raise unknown_model(name, self._entries.values())
        if version:
            held = [entry for entry in held if str(entry.version) == version]
            if not held:
                raise unknown_version(name, version, self._entries.values())
        ready = [entry for entry in held if entry.state is State.READY]
        newest = max(ready or held, key=lambda entry: entry.version)
        if not ready:
            raise newest.why_not_ready()
        return newest

    async def refresh(self) -> None:
        """Makes the models follow the folder; returns when all of them are ready or refused.

        Raises:
            OSError: the folder cannot be read. Nothing was changed.
        """
        async with self._refreshing:
            found = await self._folder.versions()
            found = {key: files for key, files in found.items() if key not in self._unwanted}
            wanted: set[Key] = set()
            for name in sorted({name for name, _ in found}):
                wanted |= await self._follow(name, found)
            for key in [key for key in self._entries if key not in wanted]:
                self._take_down(self._entries.pop(key))
            self._settled = True
            self._choose_default()

    async def load(self, name: str, version: int) -> None:
        """Loads a version that was unloaded, or tries a refused one again.

        Raises:
            ModelNotFoundError: the folder has no such version.
            BundleRefusedError: it cannot be served.
        """
        key = (name, version)
        self._unwanted.discard(key)
        held = self._entries.get(key)
        if held is not None and held.state is State.FAILED:
            del self._entries[key]
        await self.refresh()
        entry = self._entries.get(key)
        if entry is None:
            raise ModelNotFoundError(f"the repository has no {name[:63]!r} version {version}")
        if entry.reason:
            raise BundleRefusedError(entry.reason)

    async def unload(self, name: str, version: int) -> None:
        """Drains a version and does not load it again until `load` is called, or a restart.

        Raises:
            ModelNotFoundError: it is not held.
        """
        key = (name, version)
        if key not in self._entries:
            raise unknown_version(name, str(version), self._entries.values())
        self._unwanted.add(key)
        await self.refresh()

    def close(self) -> None:
        """Drains every model."""
        for key in list(self._entries):
            self._take_down(self._entries.pop(key))

    async def _follow(self, name: str, found: dict[Key, Fingerprint]) -> set[Key]:
        """Loads what is new of one model, the newest first; returns the versions to keep.

        Refused versions are kept, with their reasons, and do not count.
        """
        wanted: set[Key] = set()
        serving = 0
        for version in sorted((v for model, v in found if model == name), reverse=True):
            if serving == self._max_versions:
                break
            key = (name, version)
            held = self._entries.get(key)
            if held is None or held.fingerprint != found[key]:
                await self._bring_up(Entry(name, version, found[key]))
            wanted.add(key)
            serving += self._entries[key].state is State.READY
        return wanted

    async def _bring_up(self, entry: Entry) -> None:
        before = self._entries.setdefault((entry.name, entry.version), entry)
        begun = time.monotonic()
        try:
            entry.model = await self._folder.load(entry.name, entry.version)
        except asyncio.CancelledError:
            if before is entry:  # else it would stay LOADING, since its files do not change
                del self._entries[entry.name, entry.version]
            raise
        except Exception as error:  # of whatever kind: a bad bundle must not stop the others
            self._refuse(entry, before, reason_of(error, entry.name, entry.version))
            return
        entry.state = State.READY
        self._entries[entry.name, entry.version] = entry
        if before is not entry:
            self._take_down(before)
        facts = {"model": entry.name, "version": entry.version, "provider": entry.model.provider}
        seconds = round(time.monotonic() - begun, 3)
        log.info("model ready", extra={"facts": facts | {"seconds": seconds}})
        self._tell(entry)

    def _refuse(self, entry: Entry, before: Entry, reason: str) -> None:
        entry.state, entry.reason = State.FAILED, reason
        if before.model is not None:
            # The files of a version changed and cannot be served; the loaded model goes on.
            before.fingerprint, before.reason = entry.fingerprint, f"reload refused: {reason}"
        else:
            self._entries[entry.name, entry.version] = entry
        self._tell(entry)

    def _take_down(self, entry: Entry) -> None:
        if entry.model is None:
            return
        entry.state = State.DRAINING
        entry.model.retire()
        self._draining.append(entry)
        facts = {"model": entry.name, "version": entry.version}
        log.info("model leaves", extra={"facts": facts})
        self._tell(entry)

    def _choose_default(self) -> None:
        before = self.default_name
        ready = {entry.name for entry in self._entries.values() if entry.state is State.READY}
        self._default.update({name for name, _ in self._entries}, ready)
        if self.default_name != before:
            self._picked.clear()

    def _tell(self, entry: Entry) -> None:
        self._picked.clear()
        for listener in self._listeners:
            listener(entry)
