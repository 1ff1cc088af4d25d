"""The door that every call to a model goes through, whichever protocol brought it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from latens_serving.calls.context import CallContext
from latens_serving.errors import LatensError
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository


class Door:
    """Counts the calls under way, and can be shut: what is inside is finished, nothing comes in."""

    def __init__(self, models: Repository) -> None:
        self._models = models
        self.calls_in_flight = 0
        self._refusal: Callable[[], LatensError] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, name: str, version: str, call: CallContext) -> Visit:
        """The model that a call means, held open for it: a context to be entered at once.

        Raises:
            LatensError: the door is shut, or there is no such model, or it is not ready.
        """
        if self._refusal is not None:
            raise self._refusal()
        model = self._models.pick(name, version)
        call.model, call.version = model.name, model.version
        return Visit(self, model)

    def count_in(self) -> None:
        self.calls_in_flight += 1
        self._idle.clear()

    def count_out(self) -> None:
        self.calls_in_flight -= 1
        if not self.calls_in_flight:
            self._idle.set()

    def refuse(self, refusal: Callable[[], LatensError]) -> None:
        """Refuses new calls from now on; those under way go on."""
        self._refusal = refusal

    async def wait_idle(self, seconds: float) -> bool:
        """Waits until no call is under way; False if some still are after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        return self._idle.is_set()


class Visit:
    """A call inside, and its model. No generator: that would cost each call a microsecond."""

    __slots__ = ("_door", "_model")

    def __init__(self, door: Door, model: LoadedModel) -> None:
        self._door = door
        self._model = model

    def __enter__(self) -> LoadedModel:
        self._door.count_in()
        self._model.hold()
        return self._model

    def __exit__(self, *_: object) -> None:
        self._model.release()
        self._door.count_out()
