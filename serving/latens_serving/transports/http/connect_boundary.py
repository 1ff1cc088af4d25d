"""What surrounds every RPC over HTTP: the call boundary, as an interceptor of the Connect library.

It begins before the body is read, so that a caller without a token costs nothing, and ends after
it, so that a body that cannot be read is counted too.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import grpc
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from connectrpc.interceptor import MetadataInterceptor
from connectrpc.request import RequestContext
from protobuf import wkt

from latens_serving.calls.boundary import (
    REQUEST_ID_KEY,
    Boundaries,
    CallBoundary,
    Failure,
    forget,
)
from latens_serving.calls.context import CallContext
from latens_serving.errors import InvalidInputError, LatensError, TooLargeError

_GRPC_CODES: Final[dict[Code, grpc.StatusCode]] = {
    Code(grpc_code.name.lower().replace("cancelled", "canceled")): grpc_code
    for grpc_code in grpc.StatusCode
    if grpc_code is not grpc.StatusCode.OK
}
_CODES: Final[dict[int, Code]] = {known.value[0]: code for code, known in _GRPC_CODES.items()}

Context: TypeAlias = RequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Open:
    boundary: CallBoundary
    call: CallContext


_OPEN: ContextVar[_Open] = ContextVar("open")


def call_under_way() -> CallContext:
    """The call that this task answers."""
    return _OPEN.get().call


class ConnectBoundary(MetadataInterceptor[_Open]):
    """Surrounds the RPCs of one service."""

    def __init__(self, service: str, boundaries: Boundaries) -> None:
        self._service = service
        self._boundaries = boundaries

    async def on_start(self, ctx: Context) -> _Open:
        """The head of a call is there.

        Raises:
            ConnectError: the call may not go on.
        """
        boundary = self._boundaries.of(f"/{self._service}/{ctx.method.name}")
        timeout = ctx.timeout_ms
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        call = boundary.begin(deadline, ctx.request_headers.get("x-request-id", ""))
        ctx.response_headers[REQUEST_ID_KEY] = call.request_id
        opened = _Open(boundary, call)
        _OPEN.set(opened)
        try:
            boundary.admit(ctx.request_headers.get("authorization", ""), call)
        except LatensError as error:
            failure = boundary.fail(call, error)
        else:
            return opened
        _hint(ctx, failure)
        raise _connect_error(failure)

    async def on_end(self, token: _Open, ctx: Context, error: Exception | None, /) -> None:
        """The call has its answer, or `error`.

        Raises:
            ConnectError: what the caller is told instead of `error`.
        """
        boundary, call = token.boundary, token.call
        if error is None:
            boundary.succeed(call)
            return
        ours = _in_our_words(error)
        if isinstance(ours, ConnectError) and ours.code is not Code.CANCELED:
            boundary.end(call, _GRPC_CODES[ours.code])
            forget(ours)
            return
        if isinstance(ours, ConnectError):  # what the library makes of a CancelledError
            boundary.fail(call, asyncio.CancelledError())
            return
        failure = boundary.fail(call, ours)
        forget(error)
        _hint(ctx, failure)
        raise _connect_error(failure) from None


def _hint(ctx: Context, failure: Failure) -> None:
    if failure.retry_after is not None:
        ctx.response_headers["retry-after"] = str(math.ceil(failure.retry_after))


def _in_our_words(error: Exception) -> Exception:
    """What the library says of a request's body, as the failure that it is."""
    if isinstance(error, ConnectError) and error.code is Code.INVALID_ARGUMENT:
        return InvalidInputError.at("request", error.message)
    if isinstance(error, ConnectError) and error.code is Code.RESOURCE_EXHAUSTED:
        return TooLargeError.at("request", error.message)
    return error


def _connect_error(failure: Failure) -> ConnectError:
    rich = failure.status
    details = [
        ErrorDetail(wkt.Any(type_url=detail.type_url, value=detail.value))
        for detail in rich.details
    ]
    return ConnectError(_CODES[rich.code], rich.message, details)
