"""`latens.admin.v1.AdminService` of a server of several processes: each call reaches them all.

The supervisor serves it. Every worker serves the same service by itself, on a socket that only the
supervisor's user can open; what an operator asks of the server is asked of each of them there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from latens.admin.v1 import admin_pb2 as pb
from latens.admin.v1 import admin_pb2_grpc
from latens.v1 import latens_pb2
from latens_serving import errors
from latens_serving.calls.authorization import Tokens
from latens_serving.models.layout import Key
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.admin import version_of
from latens_serving.service.health import SERVICE_NAME
from latens_serving.settings import Settings
from latens_serving.transports.services import make_admin_server
from latens_serving.workers.summed_metrics import WorkerMetrics

# Subscripted in the type stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_DETAILS_KEY = "grpc-status-details-bin"
_LAST_ANSWERS_SECONDS = 1.0
_LIVES = 3
_UNLIMITED = [("grpc.max_receive_message_length", -1)]

# What a worker may refuse for a reason that is the operator's to know.
_REFUSALS: dict[str, type[errors.LatensError]] = {
    kind.reason: kind
    for kind in (
        errors.ModelNotFoundError,
        errors.BundleRefusedError,
        errors.NotReadyError,
        errors.DrainingError,
    )
}

# Of what the workers say of one version the first of these is shown: a fault above all, and a copy
# that drains beside its successor last.
_SHOWN_FIRST = (
    latens_pb2.MODEL_STATE_FAILED,
    latens_pb2.MODEL_STATE_LOADING,
    latens_pb2.MODEL_STATE_READY,
    latens_pb2.MODEL_STATE_DRAINING,
)


class Crew(Protocol):
    """The workers, as far as they concern an operator."""

    size: int

    async def admin_socket(self, index: int) -> Path:
        """Where worker number `index` is asked; waits until it serves.

        Raises:
            NotReadyError: it does not come up.
        """
        ...

    def dismiss(self) -> list[Path]:
        """Starts no worker any more; where those that serve are to be told to leave."""
        ...


class CrewAdmin(admin_pb2_grpc.AdminServiceServicer):
    """What an operator may do to all workers at once."""

    def __init__(self, crew: Crew) -> None:
        self.unloaded: set[Key] = set()
        """The versions that a worker is to keep out which is started from now on."""
        self._crew = crew
        self._turn = asyncio.Lock()

    async def ReloadRepository(  # noqa: N802
        self, request: pb.ReloadRepositoryRequest, _: Context
    ) -> pb.ReloadRepositoryResponse:
        async with self._turn:
            answers = await self._ask_all("ReloadRepository", request)
        return pb.ReloadRepositoryResponse(
            models=merged(answer.models for answer in _all_or_error(answers))
        )

    async def LoadModel(self, request: pb.LoadModelRequest, _: Context) -> pb.LoadModelResponse:  # noqa: N802
        key = (request.model, version_of(request.version))
        async with self._turn:
            self.unloaded.discard(key)
            answers = await self._ask_all("LoadModel", request)
        return pb.LoadModelResponse(model=_all_or_error(answers)[0].model)

    async def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, _: Context
    ) -> pb.UnloadModelResponse:
        key = (request.model, version_of(request.version))
        async with self._turn:
            was_out = key in self.unloaded
            self.unloaded.add(key)  # first, so that whoever is started meanwhile keeps it out
            answers = await self._ask_all("UnloadModel", request)
            unknown = [a for a in answers if isinstance(a, errors.ModelNotFoundError)]
            if len(unknown) == len(answers):
                if not was_out:
                    self.unloaded.discard(key)
                raise unknown[0]
        # A worker that was started in between has kept it out from the beginning.
        _all_or_error([answer for answer in answers if answer not in unknown])
        return pb.UnloadModelResponse()

    async def Drain(self, request: pb.DrainRequest, _: Context) -> pb.DrainResponse:  # noqa: N802
        told = (_ask(socket, "Drain", request) for socket in self._crew.dismiss())
        answers = await asyncio.gather(*told, return_exceptions=True)
        counted = (a.calls_in_flight for a in answers if not isinstance(a, BaseException))
        return pb.DrainResponse(calls_in_flight=sum(counted))

    async def _ask_all(self, method: str, request: Any) -> list[Any]:
        """What each worker answered, or the LatensError of it."""
        asked = (self._ask_worker(index, method, request) for index in range(self._crew.size))
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _ask_worker(self, index: int, method: str, request: Any) -> Any:
        for _ in range(_LIVES):
            try:
                return await _ask(await self._crew.admin_socket(index), method, request)
            except grpc.aio.AioRpcError as error:
                reason = _reason_of(error)
                if reason in _REFUSALS:
                    raise _REFUSALS[reason](error.details() or reason) from None
                if reason or error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise errors.EngineFailedError(f"worker {index}: {error.details()}") from error
                # It died meanwhile: the one that takes its place is asked.
        raise errors.NotReadyError(f"worker {index} does not stay up", retry_after=1.0)


class CrewAdminServer:
    """The admin address of a server of several processes."""

    def __init__(self, crew: Crew, settings: Settings) -> None:
        """Takes the address.

        Raises:
            OSError: it cannot be had.
        """
        assert settings.admin_port is not None
        self._admin = CrewAdmin(crew)
        self._health = aio.HealthServicer()
        self._metrics = Metrics()
        self._told: WorkerMetrics | None = None
        self._server = make_admin_server(
            settings, self._admin, self._health, self._metrics, Tokens(settings.tokens)
        )
        self.port = self._server.bind(settings.admin_host, settings.admin_port)

    @property
    def unloaded(self) -> set[Key]:
        """See `CrewAdmin.unloaded`."""
        return self._admin.unloaded

    async def start(self, folder: Path) -> None:
        """Answers; its metrics are among those of the workers, whose sockets are in `folder`."""
        await self.set_serving(False)
        self._told = WorkerMetrics(folder, "supervisor", self._metrics.exposition)
        await self._told.start()
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """Says of the server as a whole whether it answers."""
        status = health_pb2.HealthCheckResponse
        for name in ("", SERVICE_NAME):
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self) -> None:
        """Ends, once answers under way have left."""
        await self._server.stop(_LAST_ANSWERS_SECONDS)
        if self._told is not None:
            await self._told.stop()


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
    """The reason that the server gave; empty when the failure is the transport's."""
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
