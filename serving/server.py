"""The gRPC front end: grpc.aio listening, each RPC handed on to the service."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc

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


def channel_options(settings: Settings) -> list[tuple[str, int]]:
    """The C core's settings, each away from a default that was seen to hurt."""
    return [
        ("grpc.so_reuseport", 0),  # on by default: a second server takes the port in silence
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_concurrent_streams", 256),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.max_connection_age_ms", 1_800_000),
        ("grpc.max_connection_age_grace_ms", 60_000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping this often; with the default of 5 minutes they lose running calls.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def make_server(
    settings: Settings,
    service: LatentService,
    open_inference: OpenInferenceService,
    health: Health,
    metrics: Metrics,
) -> grpc.aio.Server:
    """A server with all services added, not yet bound or started."""
    interceptor = CallInterceptor(
        metrics, max_deadline=settings.max_deadline, log_calls=settings.log_calls
    )
    server = grpc.aio.server(interceptors=[interceptor], options=channel_options(settings))
    add_service: Any = latens_pb2_grpc.add_LatentServiceServicer_to_server  # generated, untyped
    add_service(LatentServicer(service), server)
    add_open_inference(server, open_inference)
    health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
    add_reflection(server, (SERVICE_NAME, OPEN_INFERENCE, _HEALTH_SERVICE))
    return server


def bind(server: grpc.aio.Server, host: str, port: int) -> int:
    """Listens; returns the port, which the system chooses when it is 0.

    Raises:
        OSError: the address cannot be had.
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: is another server there?") from error
