"""The gRPC services on a front end: each RPC handed on to the service."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio

from latens.admin.v1 import admin_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.calls.authorization import Scope, Tokens
from latens_serving.calls.recorder import MethodAccount
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.admin import SERVICE_NAME as ADMIN
from latens_serving.service.health import SERVICE_NAME, Health
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.transports.frontends import FrontEnd, GrpcioFrontEnd, make_front_end
from latens_serving.transports.grpc.interceptors import CALL, CallInterceptor
from latens_serving.transports.grpc.reflection import add_reflection
from latens_serving.transports.oip.service import OpenInferenceService
from latens_serving.transports.oip.servicer import SERVICE_NAME as OPEN_INFERENCE
from latens_serving.transports.oip.servicer import add_open_inference
from latens_serving.transports.servicer_routes import Http2FrontEnd
from latens_serving.transports.tensor_routes import CallPolicy, add_tensor_routes
from latens_serving.transports.tracing import Tracing

_HEALTH_SERVICE = "grpc.health.v1.Health"

# Subscripted in the type stubs only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class LatentServicer(latens_pb2_grpc.LatentServiceServicer):
    """Hands each RPC on; what a call means is in `latens_serving.service.service`."""

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

    async def Reconstruct(  # noqa: N802
        self, request: pb.ReconstructRequest, _: Context
    ) -> pb.ReconstructResponse:
        return await self._service.reconstruct(request, CALL.get())

    async def Traverse(  # noqa: N802
        self, request: pb.TraverseRequest, _: Context
    ) -> pb.TraverseResponse:
        return await self._service.traverse(request, CALL.get())

    async def Inpaint(self, request: pb.InpaintRequest, _: Context) -> pb.InpaintResponse:  # noqa: N802
        return await self._service.inpaint(request, CALL.get())

    async def Score(self, request: pb.ScoreRequest, _: Context) -> pb.ScoreResponse:  # noqa: N802
        return await self._service.score(request, CALL.get())

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
    tokens: Tokens,
    tracing: Tracing | None = None,
) -> FrontEnd:
    """A server with all services added, not yet bound or started."""
    interceptors: list[grpc.aio.ServerInterceptor] = [
        _interceptor(settings, metrics, tokens, "infer")
    ]
    if tracing is not None:
        interceptors.append(tracing)
    server = make_front_end(settings, interceptors)
    if isinstance(server, Http2FrontEnd) and tracing is None:  # tensor routes know no interceptor
        _add_tensor_routes(server, settings, service, metrics, tokens)
    add_service: Any = latens_pb2_grpc.add_LatentServiceServicer_to_server  # generated, untyped
    add_service(LatentServicer(service), server)
    add_open_inference(server, open_inference)
    _add_health(server, health.servicer)
    if settings.reflection:
        add_reflection(server, (SERVICE_NAME, OPEN_INFERENCE, _HEALTH_SERVICE))
    return server


def make_admin_server(
    settings: Settings,
    servicer: admin_pb2_grpc.AdminServiceServicer,
    health: aio.HealthServicer,
    metrics: Metrics,
    tokens: Tokens,
) -> GrpcioFrontEnd:
    """The server of the admin address, not yet bound or started."""
    server = GrpcioFrontEnd(settings, [_interceptor(settings, metrics, tokens, "admin")])
    add_admin: Any = admin_pb2_grpc.add_AdminServiceServicer_to_server  # generated, untyped
    add_admin(servicer, server)
    _add_health(server, health)
    if settings.reflection:
        add_reflection(server, (ADMIN, _HEALTH_SERVICE))
    return server


def _add_tensor_routes(
    server: Http2FrontEnd,
    settings: Settings,
    service: LatentService,
    metrics: Metrics,
    tokens: Tokens,
) -> None:
    policy = CallPolicy(
        authorize=lambda header: tokens.authorize(header, "infer"),
        max_deadline=settings.max_deadline,
        message_bytes=settings.max_message_bytes,
    )
    log_calls = settings.log_calls
    add_tensor_routes(
        server, service, lambda path: MethodAccount(path, "unary", metrics, log_calls), policy
    )


def _interceptor(
    settings: Settings, metrics: Metrics, tokens: Tokens, scope: Scope
) -> CallInterceptor:
    return CallInterceptor(
        metrics,
        tokens,
        scope=scope,
        open_services=(_HEALTH_SERVICE,),
        max_deadline=settings.max_deadline,
        log_calls=settings.log_calls,
    )


def _add_health(server: FrontEnd, servicer: aio.HealthServicer) -> None:
    add: Any = health_pb2_grpc.add_HealthServicer_to_server
    add(servicer, server)
