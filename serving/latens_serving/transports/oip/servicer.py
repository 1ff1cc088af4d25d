"""The protocol on grpc.aio: each RPC handed on to the service."""

from __future__ import annotations

import dataclasses
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc

from latens.oip import open_inference_pb2 as oip
from latens.oip import open_inference_pb2_grpc
from latens_serving.calls import status
from latens_serving.calls.context import CallContext
from latens_serving.errors import LatensError
from latens_serving.transports.frontends import FrontEnd
from latens_serving.transports.grpc.interceptors import CALL
from latens_serving.transports.oip import stream
from latens_serving.transports.oip.service import OpenInferenceService

log = logging.getLogger(__name__)

SERVICE_NAME = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name

# Subscripted in the type stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = Callable[[Any, CallContext], Awaitable[Any]]


def add_open_inference(server: FrontEnd, service: OpenInferenceService) -> None:
    """Adds the protocol's service to a server that is not started."""
    methods: dict[str, Method] = {
        "ServerLive": service.server_live,
        "ServerReady": service.server_ready,
        "ModelReady": service.model_ready,
        "ServerMetadata": service.server_metadata,
        "ModelMetadata": service.model_metadata,
        "ModelInfer": service.model_infer,
        "ModelConfig": service.model_config,
        "ModelStatistics": service.model_statistics,
        "RepositoryIndex": service.repository_index,
        "RepositoryModelLoad": service.repository_model_load,
        "RepositoryModelUnload": service.repository_model_unload,
    }
    behaviors = {name: _unary_behavior(method) for name, method in methods.items()}
    servicer = SimpleNamespace(**behaviors, ModelStreamInfer=_stream_behavior(service))
    open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)


def _unary_behavior(method: Method) -> Any:
    async def behavior(request: Any, _: Context) -> Any:
        return await method(request, CALL.get())

    return behavior


def _stream_behavior(service: OpenInferenceService) -> Any:
    def behavior(
        requests: AsyncIterator[oip.ModelInferRequest], _: Context
    ) -> AsyncIterator[stream.Answer]:
        call = CALL.get()

        async def infer(request: oip.ModelInferRequest) -> stream.Answer:
            try:
                answer = await service.model_infer(request, dataclasses.replace(call))
            except LatensError as error:
                return _failure(request, _text(error))
            except Exception:
                incident = secrets.token_hex(8)
                log.exception("internal error", extra={"facts": {"incident": incident}})
                return _failure(request, status.status_of_incident(incident).message)
            return oip.ModelStreamInferResponse(infer_response=answer)

        return stream.answers(requests, infer)

    return behavior


def _text(error: LatensError) -> str:
    """The failure as the protocol's one text, the status first, as its clients show it."""
    return f"{status.code_of(error).name}: {status.status_of(error).message}"


def _failure(request: oip.ModelInferRequest, message: str) -> stream.Answer:
    return oip.ModelStreamInferResponse(
        error_message=message, infer_response=oip.ModelInferResponse(id=request.id)
    )
