"""The HTTP/2 front end as a gRPC server: servicers of grpc.aio on its handlers."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import grpc

from latens_serving.transports.http2.contract import Handler
from latens_serving.transports.http2.limits import Limits
from latens_serving.transports.http2.server import Server
from latens_serving.transports.servicer_calls import ServicerRoute

MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Http2FrontEnd:
    """A gRPC server, used as `grpc.aio.Server` is.

    The `add_…Servicer_to_server` functions of generated code take it.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Creates a server, not yet bound.

        Args:
            limits: what clients may do.
            tls: for encrypted connections; must offer `h2` by ALPN.
            reuse_port: let other processes listen on the same port (SO_REUSEPORT).
        """
        self.server = Server(self._handler_of, limits, tls=tls, reuse_port=reuse_port)
        self._methods: dict[str, MethodHandler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._handlers: dict[str, Handler] = {}

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, MethodHandler]
    ) -> None:
        """As of `grpc.aio.Server`."""
        for name, handler in method_handlers.items():
            self._methods[f"/{service_name}/{name}"] = handler

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        """As of `grpc.aio.Server`."""
        self._generic += generic_rpc_handlers

    def add_route(self, path: str, handler: Handler) -> None:
        """Serves a path by `handler`, in place of what a servicer registers for it."""
        self._handlers[path] = handler

    def bind(self, host: str, port: int) -> int:
        """Takes an address; returns the port, which the system chooses when it is 0.

        Raises:
            OSError: the address cannot be had.
        """
        return self.server.bind(host, port)

    async def start(self) -> None:
        """Listens."""
        await self.server.start()

    async def stop(self, grace: float | None) -> None:
        """Takes no more connections or calls; lets those under way end within `grace` seconds."""
        await self.server.stop(grace)

    def _handler_of(self, path: str) -> Handler | None:
        handler = self._handlers.get(path)
        if handler is None:
            method = self._method_of(path)
            if method is None:
                return None
            handler = ServicerRoute(method, self.server.limits.message_bytes)
            self._handlers[path] = handler
        return handler

    def _method_of(self, path: str) -> MethodHandler | None:
        method = self._methods.get(path)
        if method is not None:
            return method
        found = (generic.service(_Details(path)) for generic in self._generic)
        return next((handler for handler in found if handler is not None), None)


class _Details(grpc.HandlerCallDetails):
    """What a generic handler is asked with."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()
