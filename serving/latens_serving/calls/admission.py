"""Admission: every call to a model takes a lease of it here, whatever protocol brought the call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from latens_serving.calls.context import CallContext
from latens_serving.errors import LatensError
from latens_serving.models.model import LoadedModel
from latens_serving.models.repository import Repository


class Admission:
    """Counts the calls under way. Once closed, it refuses new calls; those under way go on."""

    def __init__(self, models: Repository) -> None:
        self._models = models
        self.calls_in_flight = 0
        self._refusal: Callable[[], LatensError] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def lease(self, name: str, version: str, call: CallContext) -> ModelLease:
        """The model that a call names, to be entered as a context at once.

        Raises:
            LatensError: new calls are refused, or there is no such model, or it is not ready.
        """
        if self._refusal is not None:
            raise self._refusal()
        model = self._models.pick(name, version)
        call.model, call.version = model.name, model.version
        return ModelLease(self, model)

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


class ModelLease:
    """Keeps a model open for one call. A class, since a generator costs each call a microsecond."""

    __slots__ = ("_admission", "_model")

    def __init__(self, admission: Admission, model: LoadedModel) -> None:
        self._admission = admission
        self._model = model

    def __enter__(self) -> LoadedModel:
        self._admission.count_in()
        self._model.hold()
        return self._model

    def __exit__(self, *_: object) -> None:
        self._model.release()
        self._admission.count_out()
