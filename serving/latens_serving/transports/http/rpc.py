"""The service over the Connect protocol and gRPC-Web: JSON or protobuf over HTTP.

The endpoints come from the contract's descriptor: an RPC that the contract has and the service
implements needs no registration. The service, its errors and its limits are those of the gRPC port.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from latens.v1 import latens_pb2 as pb
from latens_serving.calls.boundary import Boundaries
from latens_serving.calls.context import CallContext
from latens_serving.errors import TooLargeError
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.transports.http.connect_boundary import ConnectBoundary, call_under_way
from latens_serving.transports.http.messages import EncodedMessage, Messages
from latens_serving.transports.http.transfers import hold_answer
from latens_serving.transports.tracing import Tracing

SERVICE: Final = pb.DESCRIPTOR.services_by_name["LatentService"]

# Base64 in JSON makes four bytes of three; the rest is names and numbers.
_JSON_GROWTH = 4 / 3
_JSON_OVERHEAD = 1 << 16

Handler: TypeAlias = Callable[[Any, CallContext], Awaitable[Message]]


class RpcApplication(ConnectASGIApplication[LatentService]):
    """The ASGI application that answers `POST /latens.v1.LatentService/<Method>`."""

    def __init__(
        self,
        service: LatentService,
        settings: Settings,
        boundaries: Boundaries,
        tracing: Tracing | None = None,
    ) -> None:
        most = settings.http_max_message_bytes
        messages = Messages()

        def endpoints(implementation: LatentService) -> Mapping[str, Any]:
            return {
                f"/{SERVICE.full_name}/{method.name}": _endpoint(
                    *(method, handler, messages, most, tracing)
                )
                for method in SERVICE.methods
                if (handler := getattr(implementation, snake_case(method.name), None))
            }

        super().__init__(
            service=service,
            endpoints=endpoints,
            interceptors=(ConnectBoundary(SERVICE.full_name, boundaries),),
            codecs=messages.codecs,
            compressions=(),  # as on the gRPC port: it would hold up the event loop
            read_max_bytes=max_body_bytes(settings),
        )

    @property
    def path(self) -> str:
        """The path prefix to mount it at."""
        return f"/{SERVICE.full_name}"


def max_body_bytes(settings: Settings) -> int:
    """The largest body: a message of the largest size, as JSON."""
    return math.ceil(settings.http_max_message_bytes * _JSON_GROWTH) + _JSON_OVERHEAD


def snake_case(name: str) -> str:
    """`GetModel` as `get_model`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _endpoint(
    method: MethodDescriptor,
    handler: Handler,
    messages: Messages,
    most_bytes: int,
    tracing: Tracing | None,
) -> Any:
    path = f"/{SERVICE.full_name}/{method.name}"

    async def answer(encoded: EncodedMessage, _: RequestContext[Any, Any]) -> EncodedMessage:
        request = await messages.read(encoded)
        response = _bounded(await handler(request, call_under_way()), most_bytes)
        hold_answer(response.ByteSize())
        return await messages.write(response, encoded.form)

    async def traced(encoded: EncodedMessage, ctx: RequestContext[Any, Any]) -> EncodedMessage:
        assert tracing is not None
        headers = ctx.request_headers.items()
        with tracing.span(path, headers, call_under_way(), "connect_rpc"):
            return await answer(encoded, ctx)

    info = MethodInfo(
        name=method.name,
        service_name=SERVICE.full_name,
        input=message_factory.GetMessageClass(method.input_type),
        output=message_factory.GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.UNKNOWN,  # POST only: no page of another site may call
        stream_type=StreamType.UNARY,
    )
    return Endpoint.unary(info, answer if tracing is None else traced)


def _bounded(response: Message, most: int) -> Message:
    size = response.ByteSize()
    if size > most:
        advice = "ask for fewer rows or for UINT8 images, or call over gRPC"
        raise TooLargeError.at(
            "response", f"expected at most {most} bytes over HTTP, got {size}; {advice}"
        )
    return response
