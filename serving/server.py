"""The gRPC services on a front end: each RPC handed on to the service."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc

from serving.frontends import FrontEnd, make_front_end
from serving.health import SERVICE_NAME, Health
from serving.interceptors import CALL, CallInterceptor
from serving.metrics import Metrics
from serving.oip.service import OpenInferenceService
from serving.oip.servicer import SERVICE_NAME as OPEN_INFERENCE
from serving.oip.servicer import add_open_inference
from serving.reflection import add_reflection
from serving.service import LatentService
from serving.settings import Settings

_HEALTH_SERVICE = "grpc.health.v1.Health"

# Subscripted in the type stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class LatentServicer(latens_pb2_grpc.LatentServiceServicer):
    """Hands each RPC on; what a call means is in `serving.service`."""

    def __init__(self, service: LatentService) -> None:
        self._service = service

    async def Encode(self, request: pb.EncodeRequest, _: Context) -> pb.EncodeResponse:  # noqa: N802
        return await self._service.encode(request, CALL.get())

    async def Decode(self, request: pb.DecodeRequest, _: Context) -> pb.DecodeResponse:  # noqa: N802
        return await self._service.decode(request, CALL.get())

    async def Sample(self, request: pb.SampleRequest, _: Context) -> pb.SampleResponse:  # noqa: N802
        return await self._service.sample(request, CALL.get())

    async def Interpolate(  # noqa: N802
        self, request: pb.InterpolateRequest, _: Context
    ) -> pb.InterpolateResponse:
        return await self._service.interpolate(request, CALL.get())

    async def GetModel(self, request: pb.GetModelRequest, _: Context) -> pb.GetModelResponse:  # noqa: N802
        return await self._service.get_model(request, CALL.get())

    async def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, _: Context
    ) -> pb.ListModelsResponse:
        return await self._service.list_models(request, CALL.get())


def make_server(
    settings: Settings,
    service: LatentService,
    open_inference: OpenInferenceService,
    health: Health,
    metrics: Metrics,
) -> FrontEnd:
    """A server with all services added, not yet bound or started.

    Raises:
        FrontEndMissingError: the front end that was asked for is not installed.
    """
    interceptor = CallInterceptor(
        metrics, max_deadline=settings.max_deadline, log_calls=settings.log_calls
    )
    server = make_front_end(settings, [interceptor])
    add_service: Any = latens_pb2_grpc.add_LatentServiceServicer_to_server  # generated, untyped
    add_service(LatentServicer(service), server)
    add_open_inference(server, open_inference)
    add_health: Any = health_pb2_grpc.add_HealthServicer_to_server
    add_health(health.servicer, server)
    add_reflection(server, (SERVICE_NAME, OPEN_INFERENCE, _HEALTH_SERVICE))
    return server
