"""What the HTTP port answers: metrics, probes, RPCs, test embeddings, the explorer page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from latens_serving.calls.authorization import Tokens
from latens_serving.calls.boundary import Boundaries
from latens_serving.models.repository import Repository
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.health import Health
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.transports.call_policy import policy_of
from latens_serving.transports.http.bodies import BoundedTransfers
from latens_serving.transports.http.embedding_arrays import EmbeddingArrays
from latens_serving.transports.http.headers import SecurityHeaders, TimeLimit, cross_origin
from latens_serving.transports.http.hosts import OwnHosts, own_hosts
from latens_serving.transports.http.page import Page
from latens_serving.transports.http.refusals import ExplainedRefusals
from latens_serving.transports.http.rpc import RpcApplication, max_body_bytes
from latens_serving.transports.http.transfers import TransferBudget
from latens_serving.transports.rest.routes import rest_routes
from latens_serving.transports.tracing import Tracing

Exposition: TypeAlias = Callable[[], Awaitable[bytes]]

_METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"


def application(
    settings: Settings,
    service: LatentService,
    models: Repository,
    health: Health,
    metrics: Metrics,
    tokens: Tokens,
    expose: Exposition,
    tracing: Tracing | None = None,
) -> ASGIApp:
    """The HTTP port as one ASGI application; `expose` returns the text of `/metrics`."""
    routes: list[BaseRoute] = [*_operations(expose, health)]
    # If the gRPC port has TLS, calls and tokens must not travel over plain HTTP.
    if settings.tls is None or settings.http_tls:
        boundaries = Boundaries(metrics, policy_of(settings, tokens, "infer"))
        rpc = RpcApplication(service, settings, boundaries, tracing)
        budget = TransferBudget(settings.http_body_bytes)
        bounded = BoundedTransfers(ExplainedRefusals(rpc), budget)
        routes.append(Mount(rpc.path, cross_origin(bounded, settings.cors_origins)))
        most = max_body_bytes(settings)
        has_tokens = tokens.are_required
        for route in rest_routes(service, boundaries, most, tracing, has_tokens=has_tokens):
            route.app = cross_origin(BoundedTransfers(route.app, budget), settings.cors_origins)
            routes.append(route)
        arrays = EmbeddingArrays(models, tokens)
        routes.append(Route("/test-embeddings/{model}/{version}/{array}.npy", arrays.respond))
        if settings.explorer:
            routes.append(Route("/{path:path}", Page().respond))
    hosted = OwnHosts(Starlette(routes=routes), own_hosts(settings))
    return SecurityHeaders(TimeLimit(hosted, settings.max_deadline))


def _operations(expose: Exposition, health: Health) -> list[Route]:
    """`/metrics` for Prometheus, `/healthz` (alive), `/readyz` (answers calls)."""

    async def exposition(_: Request) -> Response:
        return Response(await expose(), media_type=_METRICS_TYPE)

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        if health.serving:
            return PlainTextResponse("ready\n")
        word = "draining" if health.draining else "not ready"
        return PlainTextResponse(f"{word}\n", status_code=503)

    return [Route("/metrics", exposition), Route("/healthz", alive), Route("/readyz", ready)]
