"""What surrounds every RPC by HTTP: token, context, errors, metrics, a log line.

The twin of `transports.grpc.interceptors`. It begins before the body is read, so that a caller
without a token costs nothing, and ends after it, so that a body that cannot be read is counted too.
"""

from __future__ import annotations

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
from google.rpc import status_pb2
from protobuf import wkt

from latens_serving.calls import status
from latens_serving.calls.authorization import Tokens
from latens_serving.calls.context import CallContext
from latens_serving.calls.recorder import MethodAccount
from latens_serving.errors import InvalidInputError, LatensError, TooLargeError
from latens_serving.monitoring.metrics import Metrics
from latens_serving.settings import Settings

_LONGEST_REQUEST_ID = 64
_GRPC_CODES: Final[dict[Code, grpc.StatusCode]] = {
    Code(grpc_code.name.lower().replace("cancelled", "canceled")): grpc_code
    for grpc_code in grpc.StatusCode
    if grpc_code is not grpc.StatusCode.OK
}
_CODES: Final[dict[int, Code]] = {known.value[0]: code for code, known in _GRPC_CODES.items()}

Context: TypeAlias = RequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Open:
    account: MethodAccount
    call: CallContext
    begun: float

    def close(self, code: grpc.StatusCode, reason: str = "") -> None:
        self.account.end(self.call, self.begun, code, reason)


_OPEN: ContextVar[_Open] = ContextVar("open")


def call_under_way() -> CallContext:
    """The call that this task answers."""
    return _OPEN.get().call


class Surroundings(MetadataInterceptor[_Open]):
    """Surrounds the RPCs of one service."""

    def __init__(self, service: str, settings: Settings, metrics: Metrics, tokens: Tokens) -> None:
        self._service = service
        self._settings = settings
        self._metrics = metrics
        self._tokens = tokens
        self._accounts: dict[str, MethodAccount] = {}

    async def on_start(self, ctx: Context) -> _Open:
        """The head of a call is there.

        Raises:
            ConnectError: it may not go on.
        """
        account = self._account_of(ctx.method.name)
        opened = _Open(account, self._call_of(ctx), account.begin())
        _OPEN.set(opened)
        try:
            self._tokens.authorize(ctx.request_headers.get("authorization", ""), "infer")
        except LatensError as error:
            opened.close(status.code_of(error), error.reason)
            raise _connect_error(status.status_of(error)) from error
        return opened

    async def on_end(self, token: _Open, ctx: Context, error: Exception | None, /) -> None:
        """The call has its answer, or `error`.

        Raises:
            ConnectError: what the caller is told instead of `error`.
        """
        if error is None:
            token.close(grpc.StatusCode.OK)
            return
        error = _in_our_words(error)
        if not isinstance(error, LatensError | ConnectError):
            token.close(grpc.StatusCode.INTERNAL, "INTERNAL")
            raise _connect_error(token.account.incident(token.call, error)) from error
        if isinstance(error, ConnectError):
            token.close(_GRPC_CODES[error.code])
            return
        token.close(status.code_of(error), error.reason)
        if status.code_of(error) is grpc.StatusCode.INTERNAL:
            raise _connect_error(token.account.incident(token.call, error)) from error
        if error.retry_after is not None:
            ctx.response_headers["retry-after"] = str(math.ceil(error.retry_after))
        raise _connect_error(status.status_of(error)) from error

    def _account_of(self, method: str) -> MethodAccount:
        account = self._accounts.get(method)
        if account is None:
            name = f"/{self._service}/{method}"
            account = MethodAccount(name, "unary", self._metrics, self._settings.log_calls)
            self._accounts[method] = account
        return account

    def _call_of(self, ctx: Context) -> CallContext:
        most = self._settings.max_deadline
        asked = ctx.timeout_ms
        seconds = most if asked is None else min(asked / 1000, most)
        request_id = ctx.request_headers.get("x-request-id", "")
        return CallContext(time.monotonic() + seconds, request_id[:_LONGEST_REQUEST_ID])


def _in_our_words(error: Exception) -> Exception:
    """What the library says of a request's body, as the failure that it is."""
    if isinstance(error, ConnectError) and error.code is Code.INVALID_ARGUMENT:
        return InvalidInputError.at("request", error.message)
    if isinstance(error, ConnectError) and error.code is Code.RESOURCE_EXHAUSTED:
        return TooLargeError.at("request", error.message)
    return error


def _connect_error(rich: status_pb2.Status) -> ConnectError:
    details = [
        ErrorDetail(wkt.Any(type_url=detail.type_url, value=detail.value))
        for detail in rich.details
    ]
    return ConnectError(_CODES[rich.code], rich.message, details)
