"""The service by the Connect protocol and gRPC-Web: JSON or protobuf over plain HTTP.

The endpoints are made from the contract's own descriptor, so an RPC that the contract gains and
the service implements is there without more ado. The service, its errors and its limits are those
of the gRPC port.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import grpc
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_codecs
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.request import RequestContext
from connectrpc.server import ConnectASGIApplication, Endpoint
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from latens.v1 import latens_pb2 as pb
from protobuf import wkt

from serving import status
from serving.account import MethodAccount
from serving.calls import CallContext
from serving.errors import LatensError, TooLargeError
from serving.metrics import Metrics
from serving.service import LatentService
from serving.settings import Settings
from serving.tokens import Tokens

SERVICE: Final = pb.DESCRIPTOR.services_by_name["LatentService"]

# Base64 in JSON makes four bytes of three; the rest is names and numbers.
_JSON_GROWTH = 4 / 3
_JSON_OVERHEAD = 1 << 16
_LONGEST_REQUEST_ID = 64

_CODES: Final[dict[int, Code]] = {
    grpc_code.value[0]: Code(grpc_code.name.lower().replace("cancelled", "canceled"))
    for grpc_code in grpc.StatusCode
    if grpc_code is not grpc.StatusCode.OK
}

Context: TypeAlias = RequestContext[Any, Any]
Handler: TypeAlias = Callable[[Any, CallContext], Awaitable[Message]]


class RpcApplication(ConnectASGIApplication[LatentService]):
    """The ASGI application that answers `POST /latens.v1.LatentService/<Method>`."""

    def __init__(
        self, service: LatentService, settings: Settings, metrics: Metrics, tokens: Tokens
    ) -> None:
        def endpoints(implementation: LatentService) -> Mapping[str, Any]:
            return {
                f"/{SERVICE.full_name}/{method.name}": _endpoint(
                    method, handler, settings, metrics, tokens
                )
                for method in SERVICE.methods
                if (handler := getattr(implementation, snake_case(method.name), None))
            }

        super().__init__(
            service=service,
            endpoints=endpoints,
            codecs=google_protobuf_codecs(),
            compressions=(),  # as on the gRPC port: it would hold up the event loop
            read_max_bytes=math.ceil(settings.http_max_message_bytes * _JSON_GROWTH)
            + _JSON_OVERHEAD,
        )

    @property
    def path(self) -> str:
        """Where it is to be mounted."""
        return f"/{SERVICE.full_name}"


def snake_case(name: str) -> str:
    """`GetModel` as `get_model`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _endpoint(
    method: MethodDescriptor,
    handler: Handler,
    settings: Settings,
    metrics: Metrics,
    tokens: Tokens,
) -> Any:
    account = MethodAccount(
        f"/{SERVICE.full_name}/{method.name}", "unary", metrics, settings.log_calls
    )
    info = MethodInfo(
        name=method.name,
        service_name=SERVICE.full_name,
        input=message_factory.GetMessageClass(method.input_type),
        output=message_factory.GetMessageClass(method.output_type),
        idempotency_level=IdempotencyLevel.UNKNOWN,  # POST only: no page of another site may call
        stream_type=StreamType.UNARY,
    )
    return Endpoint.unary(info, _Surrounded(handler, account, settings, tokens))


class _Surrounded:
    """One method's handler, with what surrounds each call; see `serving.interceptors`."""

    def __init__(
        self, handler: Handler, account: MethodAccount, settings: Settings, tokens: Tokens
    ) -> None:
        self._handler = handler
        self._account = account
        self._settings = settings
        self._tokens = tokens

    async def __call__(self, request: Message, context: Context) -> Message:
        call = self._call_of(context)
        code, reason = grpc.StatusCode.OK, ""
        begun = self._account.begin()
        try:
            self._tokens.authorize(context.request_headers.get("authorization", ""), "infer")
            return self._bounded(await self._handler(request, call))
        except LatensError as error:
            code, reason = status.code_of(error), error.reason
            if code is grpc.StatusCode.INTERNAL:
                raise _connect_error(self._account.incident(call, error)) from error
            if error.retry_after is not None:
                context.response_headers["retry-after"] = str(math.ceil(error.retry_after))
            raise _connect_error(status.status_of(error)) from error
        except asyncio.CancelledError:
            late = call.deadline is not None and time.monotonic() >= call.deadline
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            code, reason = grpc.StatusCode.INTERNAL, "INTERNAL"
            raise _connect_error(self._account.incident(call, error)) from error
        finally:
            self._account.end(call, begun, code, reason)

    def _call_of(self, context: Context) -> CallContext:
        most = self._settings.max_deadline
        asked = context.timeout_ms
        seconds = most if asked is None else min(asked / 1000, most)
        request_id = context.request_headers.get("x-request-id", "")
        return CallContext(time.monotonic() + seconds, request_id[:_LONGEST_REQUEST_ID])

    def _bounded(self, response: Message) -> Message:
        size, most = response.ByteSize(), self._settings.http_max_message_bytes
        if size > most:
            advice = "ask for fewer rows or for UINT8 images, or call by gRPC"
            raise TooLargeError.at("response", f"{size} bytes, by HTTP at most {most}; {advice}")
        return response


def _connect_error(rich: status_pb2.Status) -> ConnectError:
    details = [
        ErrorDetail(wkt.Any(type_url=detail.type_url, value=detail.value))
        for detail in rich.details
    ]
    return ConnectError(_CODES[rich.code], rich.message, details)
