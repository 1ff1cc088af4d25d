"""The errors of calls: one class per reason of the server, built from its error details.

Every error here is a `LatensError`. The reasons are those of `google.rpc.ErrorInfo` with the domain
`latens`. Failures before a call reaches a server (no connection, an unreadable argument) have no
reason; their class follows from the gRPC status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "latens"
STATUS_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """An invalid field of the request."""

    field: str
    """Its path in the request message, for example `images.shape`."""
    description: str
    """What was expected, and what was given."""


@dataclass(frozen=True)
class ErrorDetails:
    """The structured details of a failure."""

    reason: str = ""
    """`INVALID_INPUT`, `TOO_LARGE`, `MODEL_NOT_FOUND` ...; empty when the server gave none."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    """Seconds after which to try again; None without a hint from the server."""


class TlsProblem(Enum):
    """Why a TLS connection could not be made."""

    UNTRUSTED = "the server's certificate is not trusted"
    EXPIRED = "the server's certificate has expired"
    NAME_MISMATCH = "the server's certificate is for another name"
    SERVER_IS_PLAIN = "the server does not use TLS"
    SERVER_WANTS_TLS = "the server uses TLS"
    CLIENT_CERTIFICATE = "the server asks for a client certificate"


class LatensError(Exception):
    """A call that failed.

    Attributes:
        message: from the server, or from the library where no server answered.
        code: the gRPC status; None for a failure found before a call was made.
        reason: the server's reason; empty when it gave none.
        field_violations: the invalid fields of the request.
        retry_after: seconds after which to try again; None without a hint from the server.
        metadata: further details of the server by name (for example `incident`).
    """

    reasons: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode | None = None,
        details: ErrorDetails | None = None,
    ) -> None:
        super().__init__(message)
        details = details or ErrorDetails()
        self.message = message
        self.code = code
        self.reason = details.reason
        self.field_violations = details.field_violations
        self.retry_after = details.retry_after
        self.metadata = dict(details.metadata)

    def __reduce__(self) -> tuple[Any, ...]:
        details = ErrorDetails(self.reason, self.metadata, self.field_violations, self.retry_after)
        return type(self), (self.message, self.code, details)


class InvalidInputError(LatensError, ValueError):
    """A field of the request is invalid; `field_violations` names it and what was expected."""

    reasons = frozenset({"INVALID_INPUT"})


def invalid(field: str, description: str) -> InvalidInputError:
    """The error of a field, in the form that the server uses."""
    details = ErrorDetails("INVALID_INPUT", {}, (FieldViolation(field, description),))
    return InvalidInputError(f"{field}: {description}", details=details)


class TooLargeError(InvalidInputError):
    """One item, or a count that cannot be split, exceeds what a call may carry."""

    reasons = frozenset({"TOO_LARGE"})


class ModelNotFoundError(LatensError, LookupError):
    """The server has no such model or version; the message names those that it has."""

    reasons = frozenset({"MODEL_NOT_FOUND"})


class NotOfferedError(LatensError):
    """The model has no prior to sample from, or no likelihood to score by."""

    reasons = frozenset({"NOT_OFFERED"})


class OverloadedError(LatensError):
    """The server was too busy, even after the retries."""


class QueueFullError(OverloadedError):
    """The server's queue was full, even after the retries; see `retry_after`."""

    reasons = frozenset({"QUEUE_FULL"})


class DeviceMemoryError(OverloadedError):
    """The server's device ran out of memory; fewer rows per call may pass."""

    reasons = frozenset({"DEVICE_MEMORY"})


class UnavailableError(LatensError, ConnectionError):
    """No server could be reached, or none of those reached takes calls."""


class TlsError(UnavailableError):
    """A server is there, but no TLS connection to it could be made; the message says why.

    Attributes:
        problem: what is wrong, for programs.
    """

    def __init__(
        self,
        message: str,
        code: grpc.StatusCode | None = None,
        details: ErrorDetails | None = None,
        problem: TlsProblem | None = None,
    ) -> None:
        super().__init__(message, code, details)
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        kind, arguments = super().__reduce__()
        return kind, (*arguments, self.problem)


class ClientClosedError(LatensError, ValueError):
    """The client was closed before the call."""


class DrainingError(UnavailableError):
    """The server is shutting down."""

    reasons = frozenset({"DRAINING"})


class NotReadyError(UnavailableError):
    """The model is not ready yet."""

    reasons = frozenset({"NOT_READY"})


class DeadlineExceededError(LatensError, TimeoutError):
    """The call did not end within its timeout."""


class UnauthenticatedError(LatensError):
    """The server asks for a token, or does not accept the one given."""


class PermissionDeniedError(LatensError, PermissionError):
    """The token does not allow this call."""


class CallCancelledError(LatensError):
    """The call was cancelled: the client was closed meanwhile, or the transport dropped it."""


class UnimplementedError(LatensError):
    """The server does not have the RPC: it is older than this client, or not a Latens server."""


class InternalError(LatensError):
    """The server failed; `metadata["incident"]` identifies the cause in its log."""

    reasons = frozenset({"INTERNAL"})


class ResponseError(LatensError):
    """The server's response contradicts the contract."""


_BY_REASON: dict[str, type[LatensError]] = {
    reason: kind
    for kind in (
        InvalidInputError,
        TooLargeError,
        ModelNotFoundError,
        NotOfferedError,
        QueueFullError,
        DeviceMemoryError,
        DrainingError,
        NotReadyError,
        InternalError,
    )
    for reason in kind.reasons
}

_BY_CODE: dict[grpc.StatusCode, type[LatensError]] = {
    grpc.StatusCode.CANCELLED: CallCancelledError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInputError,
    grpc.StatusCode.NOT_FOUND: ModelNotFoundError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInputError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
}


def from_call(error: grpc.RpcError, timeout: float | None = None) -> LatensError:
    """The typed error of a failed call, sync or async.

    Args:
        error: of gRPC.
        timeout: of the call, which the message names when it passed.
    """
    call: Any = error
    code: grpc.StatusCode = call.code()
    details = _details(_pairs(call.trailing_metadata()))
    kind = _BY_REASON.get(details.reason) or _BY_CODE.get(code, LatensError)
    message = call.details() or code.name
    if kind is DeadlineExceededError and timeout is not None:
        message = f"{message} (the timeout of the call is {timeout:g} s)"
    return kind(message, code, details)


def _pairs(metadata: Any) -> Sequence[tuple[str, str | bytes]]:
    return list(metadata or ())


def _details(trailers: Sequence[tuple[str, str | bytes]]) -> ErrorDetails:
    """Reads `google.rpc.Status` from the trailers; unreadable details are ignored."""
    status = status_pb2.Status()
    for key, value in trailers:
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                return ErrorDetails()
    info, request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    has_retry = False
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(request)
        has_retry = detail.Unpack(retry) or has_retry
    return ErrorDetails(
        reason=info.reason if info.domain == DOMAIN else "",
        metadata=dict(info.metadata),
        field_violations=tuple(
            FieldViolation(violation.field, violation.description)
            for violation in request.field_violations
        ),
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if has_retry else None,
    )
