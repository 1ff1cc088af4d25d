"""What may speak gRPC for the services: grpc.aio, or the HTTP/2 front end.

Both take the same handlers, so that a call means the same on either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import grpc

from latens_serving.settings import Settings
from latens_serving.transports.http2.limits import Limits
from latens_serving.transports.servicer_routes import Http2FrontEnd
from latens_serving.transports.tls import server_credentials, ssl_context

# Subscripted in the type stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


_PENDING_CALLS = 1 << 14


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a client may do with a connection to grpc.aio. Times are in seconds, sizes in bytes."""

    streams: int = 256
    """Calls at a time on one connection; clients keep what is more until there is room."""
    metadata_bytes: int = 16 << 10
    """The largest header list of a call."""
    handshake_seconds: float = 10.0
    """How long a client may take to begin HTTP/2."""
    idle_seconds: float = 300.0
    """How long a connection may be without a call."""
    age_seconds: float = 1800.0
    """After which, a tenth more or less, a connection is asked to go."""
    age_grace_seconds: float = 60.0
    """What its calls then have to finish."""
    ping_seconds: float = 60.0
    """Silence after which the client is pinged."""
    pong_seconds: float = 60.0
    """Silence after that until it counts as gone."""
    client_ping_seconds: float = 10.0
    """Clients may ping this often; who does so more often is sent away."""


class FrontEnd(Protocol):
    """A gRPC server. The `add_…_to_server` functions of generated code take it."""

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None: ...

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None: ...

    def bind(self, host: str, port: int) -> int:
        """Takes an address; returns the port, which the system chooses when it is 0.

        Raises:
            OSError: it cannot be had.
        """
        ...

    async def start(self) -> None: ...

    async def stop(self, grace: float | None) -> None:
        """Refuses what is new, and ends what still runs after `grace` seconds."""
        ...


def make_front_end(settings: Settings) -> FrontEnd:
    """The front end that the settings name, without services."""
    if settings.frontend == "grpcio":
        return GrpcioFrontEnd(settings, ConnectionLimits(age_seconds=settings.connection_age))
    limits = Limits(
        message_bytes=settings.max_message_bytes,
        calls=settings.max_calls,
        age_seconds=settings.connection_age,
    )
    tls = None if settings.tls is None else ssl_context(settings.tls)
    shared = settings.workers > 1
    return Http2FrontEnd(limits, tls=tls, reuse_port=shared)


class GrpcioFrontEnd:
    """gRPC's own server, grpc.aio.

    It is given no `maximum_concurrent_rpcs`: calls beyond that number would wait in its core, with
    no answer and no hint, until their deadlines. The call boundary refuses them.
    """

    def __init__(self, settings: Settings, limits: ConnectionLimits | None = None) -> None:
        self._tls = settings.tls
        self._server: Any = grpc.aio.server(
            options=channel_options(settings, limits or ConnectionLimits()),
        )

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        self._server.add_generic_rpc_handlers(tuple(generic_rpc_handlers))

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        self._server.add_registered_method_handlers(service_name, method_handlers)

    def bind(self, host: str, port: int) -> int:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = None if self._tls is None else server_credentials(self._tls)
        try:
            if credentials is None:
                bound: int = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: is another server there?") from error
        return bound

    def bind_socket(self, path: Path) -> None:
        """Takes a Unix socket, in plain text: who may open it is the file system's to say."""
        self._server.add_insecure_port(f"unix:{path}")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        await self._server.stop(grace)


def channel_options(settings: Settings, limits: ConnectionLimits) -> list[tuple[str, int]]:
    """The C core's settings, each away from a default that was seen to hurt."""
    return [
        # On by default, so that a second server takes the port in silence.
        ("grpc.so_reuseport", int(settings.workers > 1)),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.max_concurrent_streams", limits.streams),
        # Beyond 1000 calls that wait for Python, the core by default ends some, of any caller, with
        # CANCELLED. The call boundary refuses what is too much, with a status and a hint.
        ("grpc.server.max_pending_requests", _PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _PENDING_CALLS),
        # Between the two the core would refuse at random.
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.server_handshake_timeout_ms", _milliseconds(limits.handshake_seconds)),
        ("grpc.max_connection_idle_ms", _milliseconds(limits.idle_seconds)),
        ("grpc.max_connection_age_ms", _milliseconds(limits.age_seconds)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(limits.age_grace_seconds)),
        ("grpc.keepalive_time_ms", _milliseconds(limits.ping_seconds)),
        ("grpc.keepalive_timeout_ms", _milliseconds(limits.pong_seconds)),
        # Alone, keepalive_timeout_ms was seen to end nothing before this one's minute is over.
        ("grpc.http2.ping_timeout_ms", _milliseconds(limits.pong_seconds)),
        ("grpc.keepalive_permit_without_calls", 1),
        # With the default of 5 minutes, clients that ping lose running calls.
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            _milliseconds(limits.client_ping_seconds),
        ),
    ]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
