"""The `latens.admin.v1.AdminService` of a server of several processes: each call reaches all.

The supervisor serves it. Every worker serves the same service on a socket that only the
supervisor's user can open; each call of an operator is sent to every worker there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from latens.admin.v1 import admin_pb2 as pb
from latens.admin.v1 import admin_pb2_grpc
from latens.v1 import latens_pb2
from latens_serving import errors
from latens_serving.calls.authorization import Tokens
from latens_serving.calls.context import CallContext
from latens_serving.models.layout import Key
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.admin import version_of
from latens_serving.service.health import SERVICE_NAME
from latens_serving.settings import Settings
from latens_serving.transports.services import make_admin_server

_DETAILS_KEY = "grpc-status-details-bin"
_LAST_ANSWERS_SECONDS = 1.0
_LIVES = 3
_UNLIMITED = [("grpc.max_receive_message_length", -1)]

# Errors of a worker that are passed on to the operator unchanged.
_REFUSALS: dict[str, type[errors.LatensError]] = {
    kind.reason: kind
    for kind in (
        errors.ModelNotFoundError,
        errors.BundleRefusedError,
        errors.NotReadyError,
        errors.DrainingError,
    )
}

# Where the workers' states of one version differ, the first of these is shown: a failure before all
# others, and a copy that drains beside its successor last.
_SHOWN_FIRST = (
    latens_pb2.MODEL_STATE_FAILED,
    latens_pb2.MODEL_STATE_LOADING,
    latens_pb2.MODEL_STATE_READY,
    latens_pb2.MODEL_STATE_DRAINING,
)


class WorkerPool(Protocol):
    """The workers as the admin service sees them."""

    size: int

    async def admin_socket(self, index: int) -> Path:
        """The admin socket of worker number `index`; waits until it serves.

        Raises:
            NotReadyError: it does not start.
        """
        ...

    def stop_restarting(self) -> list[Path]:
        """Starts no more workers; the admin sockets of those that serve, to drain them."""
        ...


class PoolAdmin:
    """The admin service over all workers."""

    def __init__(self, pool: WorkerPool) -> None:
        self.unloaded: set[Key] = set()
        """The versions that workers started from now on must not load."""
        self._pool = pool
        self._lock = asyncio.Lock()

    async def reload_repository(
        self, request: pb.ReloadRepositoryRequest, _: CallContext
    ) -> pb.ReloadRepositoryResponse:
        async with self._lock:
            answers = await self._ask_all("ReloadRepository", request)
        return pb.ReloadRepositoryResponse(
            models=merged(answer.models for answer in _all_or_error(answers))
        )

    async def load_model(
        self, request: pb.LoadModelRequest, _: CallContext
    ) -> pb.LoadModelResponse:
        key = (request.model, version_of(request.version))
        async with self._lock:
            self.unloaded.discard(key)
            answers = await self._ask_all("LoadModel", request)
        return pb.LoadModelResponse(model=_all_or_error(answers)[0].model)

    async def unload_model(
        self, request: pb.UnloadModelRequest, _: CallContext
    ) -> pb.UnloadModelResponse:
        key = (request.model, version_of(request.version))
        async with self._lock:
            was_out = key in self.unloaded
            self.unloaded.add(key)  # first, so that a worker started meanwhile does not load it
            answers = await self._ask_all("UnloadModel", request)
            unknown = [a for a in answers if isinstance(a, errors.ModelNotFoundError)]
            if len(unknown) == len(answers):
                if not was_out:
                    self.unloaded.discard(key)
                raise unknown[0]
        # A worker that was started in between has not loaded it.
        _all_or_error([answer for answer in answers if answer not in unknown])
        return pb.UnloadModelResponse()

    async def drain(self, request: pb.DrainRequest, _: CallContext) -> pb.DrainResponse:
        calls = (_ask(socket, "Drain", request) for socket in self._pool.stop_restarting())
        answers = await asyncio.gather(*calls, return_exceptions=True)
        counted = (a.calls_in_flight for a in answers if not isinstance(a, BaseException))
        return pb.DrainResponse(calls_in_flight=sum(counted))

    async def _ask_all(self, method: str, request: Any) -> list[Any]:
        """The answer of each worker, or its LatensError."""
        asked = (self._ask_worker(index, method, request) for index in range(self._pool.size))
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _ask_worker(self, index: int, method: str, request: Any) -> Any:
        for _ in range(_LIVES):
            try:
                return await _ask(await self._pool.admin_socket(index), method, request)
            except grpc.aio.AioRpcError as error:
                reason = _reason_of(error)
                if reason in _REFUSALS:
                    raise _REFUSALS[reason](error.details() or reason) from None
                if reason or error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise errors.EngineFailedError(f"worker {index}: {error.details()}") from error
                # It died meanwhile: ask its successor.
        raise errors.NotReadyError(f"worker {index} does not stay up", retry_after=1.0)


class PoolAdminServer:
    """The admin address of a server of several processes."""

    def __init__(self, pool: WorkerPool, settings: Settings) -> None:
        """Binds the address.

        Raises:
            OSError: it cannot be bound.
        """
        assert settings.admin_port is not None
        self._admin = PoolAdmin(pool)
        self._health = aio.HealthServicer()
        self._metrics = Metrics()
        self._server = make_admin_server(
            settings, self._admin, self._health, self._metrics, Tokens(settings.tokens)
        )
        self.port = self._server.bind(settings.admin_host, settings.admin_port)

    @property
    def unloaded(self) -> set[Key]:
        """See `PoolAdmin.unloaded`."""
        return self._admin.unloaded

    def exposition(self) -> bytes:
        """The metrics of the admin calls."""
        return self._metrics.exposition()

    async def start(self) -> None:
        await self.set_serving(False)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """Sets the health of the server as a whole."""
        status = health_pb2.HealthCheckResponse
        for name in ("", SERVICE_NAME):
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self) -> None:
        """Stops once the answers under way are sent."""
        await self._server.stop(_LAST_ANSWERS_SECONDS)


async def _ask(socket: Path, method: str, request: Any) -> Any:
    async with grpc.aio.insecure_channel(f"unix:{socket}", _UNLIMITED) as channel:
        stub: Any = admin_pb2_grpc.AdminServiceStub(channel)
        return await getattr(stub, method)(request)


def _all_or_error(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


def _reason_of(error: grpc.aio.AioRpcError) -> str:
    """The reason that the worker gave; empty for a failure of the transport."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
    return str(info.reason)


def merged(lists: Iterable[Iterable[latens_pb2.Model]]) -> list[latens_pb2.Model]:
    """Each version once, by name, then newest first."""
    shown: dict[tuple[str, str], latens_pb2.Model] = {}
    for models in lists:
        for model in models:
            other = shown.setdefault((model.name, model.version), model)
            if _SHOWN_FIRST.index(model.state) < _SHOWN_FIRST.index(other.state):
                shown[model.name, model.version] = model
    return sorted(shown.values(), key=lambda model: (model.name, -int(model.version)))
