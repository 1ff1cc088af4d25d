"""The gRPC services on a front end, each registered from its descriptor."""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio

from latens.admin.v1 import admin_pb2
from latens.oip import open_inference_pb2
from latens.v1 import latens_pb2
from latens_serving.calls.authorization import Tokens
from latens_serving.calls.boundary import BIDI_STREAM, Boundaries
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.health import Health
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.transports.call_policy import HEALTH, policy_of
from latens_serving.transports.frontends import FrontEnd, GrpcioFrontEnd, make_front_end
from latens_serving.transports.grpc.handlers import Services
from latens_serving.transports.grpc.reflection import add_reflection
from latens_serving.transports.grpc.unsent import UnsentAnswers
from latens_serving.transports.oip.service import OpenInferenceService
from latens_serving.transports.oip.stream import StreamInfer
from latens_serving.transports.servicer_routes import Http2FrontEnd
from latens_serving.transports.tensor_routes import add_tensor_routes
from latens_serving.transports.tracing import Tracing

_LATENS = latens_pb2.DESCRIPTOR.services_by_name["LatentService"]
_ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
_OPEN_INFERENCE = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_UNSENT_BYTES = 256 << 20


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
    server = make_front_end(settings)
    boundaries = Boundaries(metrics, policy_of(settings, tokens, "infer"))
    if isinstance(server, Http2FrontEnd) and tracing is None:  # tensor routes make no spans
        add_tensor_routes(server, service, open_inference, boundaries, settings.max_message_bytes)
    unsent = None
    if isinstance(server, GrpcioFrontEnd):
        unsent = UnsentAnswers(_UNSENT_BYTES, boundaries.memory)
    services = Services(boundaries, tracing, unsent)
    services.add_service(_LATENS, service)
    boundary = boundaries.of(f"/{_OPEN_INFERENCE.full_name}/ModelStreamInfer", BIDI_STREAM)
    services.add_service(_OPEN_INFERENCE, open_inference, StreamInfer(open_inference, boundary))
    _add_health(services, health.servicer)
    if settings.reflection:
        add_reflection(services, (_LATENS.full_name, _OPEN_INFERENCE.full_name, HEALTH))
    server.add_generic_rpc_handlers((services,))
    return server


def make_admin_server(
    settings: Settings,
    service: object,
    health: aio.HealthServicer,
    metrics: Metrics,
    tokens: Tokens,
) -> GrpcioFrontEnd:
    """The server of the admin address, not yet bound or started.

    `service` has the methods of `AdminService`: those of one process, or of all workers.
    """
    server = GrpcioFrontEnd(settings)
    boundaries = Boundaries(metrics, policy_of(settings, tokens, "admin"))
    services = Services(boundaries, unsent=UnsentAnswers(_UNSENT_BYTES, boundaries.memory))
    services.add_service(_ADMIN, service)
    _add_health(services, health)
    if settings.reflection:
        add_reflection(services, (_ADMIN.full_name, HEALTH))
    server.add_generic_rpc_handlers((services,))
    return server


def _add_health(services: Services, servicer: aio.HealthServicer) -> None:
    add: Any = health_pb2_grpc.add_HealthServicer_to_server  # generated, untyped
    add(servicer, services)
