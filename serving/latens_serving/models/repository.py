"""Which models the server holds, and which of them a name and a version mean.

The folder is `<root>/<model>/<version>/`. `refresh` makes what is held follow what lies there: what
is new is loaded beside what serves and takes over once it is ready; what is gone is drained; what
cannot be served is kept on the list with the reason, and tried again when its files change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from latens_serving.errors import BundleRefusedError, ModelNotFoundError, NotReadyError
from latens_serving.models.layout import Fingerprint, Key, versions_in
from latens_serving.models.model import LoadedModel

log = logging.getLogger(__name__)

Load: TypeAlias = Callable[[Path], LoadedModel]

_NAMES_SHOWN = 20


class State(Enum):
    """Whether a version can answer."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(slots=True)
class Entry:
    """One version of one model, loaded or not."""

    name: str
    version: int
    fingerprint: Fingerprint
    state: State = State.LOADING
    reason: str = ""
    model: LoadedModel | None = None

    @property
    def sort_key(self) -> tuple[str, int]:
        """By name, then newest first."""
        return self.name, -self.version


class Repository:
    """The models of one folder. Belongs to the event loop; loading is done in a thread."""

    def __init__(
        self,
        root: Path,
        load: Load,
        *,
        default_model: str = "",
        max_versions: int = 4,
        unwanted: Iterable[Key] = (),
        fetch: Callable[[], None] = lambda: None,
    ) -> None:
        """Makes an empty one; `refresh` fills it.

        Args:
            root: the folder.
            load: turns the directory of a bundle into a model, or raises BundleRefusedError.
            default_model: what an empty name means; empty for the first ready one by name.
            max_versions: how many versions of a model are held, the newest ones.
            unwanted: versions to keep out until `load` asks for them.
            fetch: called, in a thread, before the folder is looked at; may raise OSError.
        """
        self._root = root
        self._load = load
        self._default = default_model
        self._max_versions = max_versions
        self._fetch = fetch
        self._entries: dict[Key, Entry] = {}
        self._draining: list[Entry] = []
        self._unwanted = set(unwanted)
        self._settled = False
        self._refreshing = asyncio.Lock()
        self._picked: dict[tuple[str, str], LoadedModel] = {}  # what names meant, till a change
        self._listeners: list[Callable[[Entry], None]] = []

    def on_change(self, listener: Callable[[Entry], None]) -> None:
        """Has `listener` told of each entry whose state changes."""
        self._listeners.append(listener)

    @property
    def default_name(self) -> str:
        """What an empty model name means; empty when nothing is ready."""
        return self._default or min((entry.name for entry in self._ready()), default="")

    def entries(self) -> list[Entry]:
        """All that is held or refused, by name, newest first."""
        self._draining = [entry for entry in self._draining if not _has_left(entry)]
        everything = [*self._entries.values(), *self._draining]
        return sorted(everything, key=lambda entry: entry.sort_key)

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
            raise ModelNotFoundError(self._unknown_model(name))
        if version:
            held = [entry for entry in held if str(entry.version) == version]
            if not held:
                raise ModelNotFoundError(self._unknown_version(name, version))
        ready = [entry for entry in held if entry.state is State.READY]
        newest = max(ready or held, key=lambda entry: entry.version)
        if not ready:
            raise _why_not_ready(newest)
        return newest

    async def refresh(self) -> None:
        """Makes what is held follow the folder; returns when all of it is settled."""
        async with self._refreshing:
            found = await asyncio.to_thread(self._scan)
            found = {key: seen for key, seen in found.items() if key not in self._unwanted}
            changed = [
                (key, fingerprint)
                for key, fingerprint in sorted(found.items(), key=lambda item: item[0][1])
                if key not in self._entries or self._entries[key].fingerprint != fingerprint
            ]
            for (name, version), fingerprint in changed:
                await self._bring_up(Entry(name, version, fingerprint))
            for key in [key for key in self._entries if key not in found]:
                self._take_down(self._entries.pop(key))
            self._settled = True

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
        """Drains a version and keeps it out until `load` asks for it, or the server starts anew.

        Raises:
            ModelNotFoundError: it is not held.
        """
        key = (name, version)
        if key not in self._entries:
            raise ModelNotFoundError(self._unknown_version(name, str(version)))
        self._unwanted.add(key)
        await self.refresh()

    def close(self) -> None:
        """Lets every model go."""
        for key in list(self._entries):
            self._take_down(self._entries.pop(key))

    def _ready(self) -> Iterable[Entry]:
        return (entry for entry in self._entries.values() if entry.state is State.READY)

    async def _bring_up(self, entry: Entry) -> None:
        key = (entry.name, entry.version)
        before = self._entries.get(key)
        if before is None:
            self._entries[key] = entry
        begun = time.monotonic()
        directory = self._root / entry.name / str(entry.version)
        try:
            entry.model = await asyncio.to_thread(self._load, directory)
        except BundleRefusedError as error:
            self._refuse(entry, before, str(error))
            return
        entry.state = State.READY
        self._entries[key] = entry
        if before is not None:
            self._take_down(before)
        seconds = round(time.monotonic() - begun, 3)
        facts = {"model": entry.name, "version": entry.version, "seconds": seconds}
        log.info("model ready", extra={"facts": facts | {"provider": entry.model.provider}})
        self._tell(entry)

    def _refuse(self, entry: Entry, before: Entry | None, reason: str) -> None:
        facts = {"model": entry.name, "version": entry.version, "reason": reason}
        log.error("model refused", extra={"facts": facts})
        entry.state, entry.reason = State.FAILED, reason
        if before is not None and before.model is not None:
            # The same version again, and worse: what serves goes on, and says so.
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
        log.info("model leaves", extra={"facts": {"model": entry.name, "version": entry.version}})
        self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        self._picked.clear()
        for listener in self._listeners:
            listener(entry)

    def _scan(self) -> dict[Key, Fingerprint]:
        """What lies in the folder: the newest versions of each model."""
        try:
            self._fetch()
        except OSError as error:  # what was fetched before is there still
            log.error("source not read", extra={"facts": {"reason": str(error)}})  # noqa: TRY400
        return versions_in(self._root, self._max_versions)

    def _unknown_model(self, name: str) -> str:
        names = sorted({entry.name for entry in self._entries.values()})
        return f"no model {name[:63]!r}; there is {_enumerated(names)}"

    def _unknown_version(self, name: str, version: str) -> str:
        held = sorted(entry.version for entry in self._entries.values() if entry.name == name)
        shown = _enumerated([str(number) for number in held])
        return f"model {name!r} has no version {version[:20]!r}; there is {shown}"


def _why_not_ready(entry: Entry) -> NotReadyError:
    what = f"model {entry.name!r} version {entry.version}"
    if entry.state is State.FAILED:
        return NotReadyError(f"{what} was refused when it was loaded")
    return NotReadyError(f"{what} is {entry.state.value}", retry_after=1.0)


def _enumerated(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN]) or "none"
    left = len(names) - _NAMES_SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def _has_left(entry: Entry) -> bool:
    return entry.model is None or entry.model.is_idle
