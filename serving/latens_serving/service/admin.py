"""`latens.admin.v1.AdminService`, on an address of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc

from latens.admin.v1 import admin_pb2 as pb
from latens.admin.v1 import admin_pb2_grpc
from latens_serving.bundle.schema import VERSION_NAME
from latens_serving.calls.admission import Door
from latens_serving.errors import InvalidInputError
from latens_serving.models.repository import Repository
from latens_serving.service.model_messages import description

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["AdminService"].full_name

# Subscripted in the type stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class AdminServicer(admin_pb2_grpc.AdminServiceServicer):
    """What an operator may do to a running server."""

    def __init__(self, models: Repository, door: Door, drain: Callable[[], None]) -> None:
        """Makes one.

        Args:
            models: what is loaded and unloaded.
            door: tells how many calls are under way.
            drain: begins to take the server out of service, and returns at once.
        """
        self._models = models
        self._door = door
        self._drain = drain

    async def ReloadRepository(  # noqa: N802
        self, request: pb.ReloadRepositoryRequest, _: Context
    ) -> pb.ReloadRepositoryResponse:
        del request
        await self._models.refresh()
        entries = self._models.entries()
        return pb.ReloadRepositoryResponse(models=[description(entry) for entry in entries])

    async def LoadModel(self, request: pb.LoadModelRequest, _: Context) -> pb.LoadModelResponse:  # noqa: N802
        await self._models.load(request.model, version_of(request.version))
        entry = self._models.entry(request.model, request.version)
        return pb.LoadModelResponse(model=description(entry))

    async def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, _: Context
    ) -> pb.UnloadModelResponse:
        await self._models.unload(request.model, version_of(request.version))
        return pb.UnloadModelResponse()

    async def Drain(self, request: pb.DrainRequest, _: Context) -> pb.DrainResponse:  # noqa: N802
        del request
        calls = self._door.calls_in_flight
        self._drain()
        return pb.DrainResponse(calls_in_flight=calls)


def version_of(text: str) -> int:
    """A version as requests give it.

    Raises:
        InvalidInputError: it is none.
    """
    if not VERSION_NAME.match(text):
        raise InvalidInputError.at("version", f"expected a decimal integer, got {text[:20]!r}")
    return int(text)
