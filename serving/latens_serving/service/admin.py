"""`latens.admin.v1.AdminService`, on an address of its own."""

from __future__ import annotations

from collections.abc import Callable

from latens.admin.v1 import admin_pb2 as pb
from latens_serving.bundle.schema import VERSION_NAME
from latens_serving.calls.admission import Admission
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError
from latens_serving.models.repository import Repository
from latens_serving.service.model_messages import description


class AdminService:
    """Loads and unloads models, and drains the server."""

    def __init__(self, models: Repository, admission: Admission, drain: Callable[[], None]) -> None:
        """Makes the service.

        Args:
            models: what is loaded and unloaded.
            admission: knows how many calls are under way.
            drain: starts a graceful shutdown, and returns at once.
        """
        self._models = models
        self._admission = admission
        self._drain = drain

    async def reload_repository(
        self, request: pb.ReloadRepositoryRequest, _: CallContext
    ) -> pb.ReloadRepositoryResponse:
        del request
        await self._models.refresh()
        entries = self._models.entries()
        return pb.ReloadRepositoryResponse(models=[description(entry) for entry in entries])

    async def load_model(
        self, request: pb.LoadModelRequest, _: CallContext
    ) -> pb.LoadModelResponse:
        await self._models.load(request.model, version_of(request.version))
        entry = self._models.entry(request.model, request.version)
        return pb.LoadModelResponse(model=description(entry))

    async def unload_model(
        self, request: pb.UnloadModelRequest, _: CallContext
    ) -> pb.UnloadModelResponse:
        await self._models.unload(request.model, version_of(request.version))
        return pb.UnloadModelResponse()

    async def drain(self, request: pb.DrainRequest, _: CallContext) -> pb.DrainResponse:
        del request
        calls = self._admission.calls_in_flight
        self._drain()
        return pb.DrainResponse(calls_in_flight=calls)


def version_of(text: str) -> int:
    """The version in a request.

    Raises:
        InvalidInputError: it is not a version.
    """
    if not VERSION_NAME.match(text):
        raise InvalidInputError.at("version", f"expected a decimal integer, got {text[:20]!r}")
    return int(text)
