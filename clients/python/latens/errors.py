"""What can go wrong with a call: one class a reason of the server, built from its error details.

Every error here is a `LatensError`. The reasons are those of `google.rpc.ErrorInfo` with the domain
`latens`; what fails before it reaches a server (no connection, an unreadable argument) has none and
is told by its gRPC status.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "latens"
STATUS_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """A field of the request at fault."""

    field: str
    """Its path in the request message, for example `images.shape`."""
    description: str
    """What was expected, and what came."""


@dataclass(frozen=True)
class ErrorDetails:
    """What the server said of a failure beyond its message."""

    reason: str = ""
    """`INVALID_INPUT`, `TOO_LARGE`, `MODEL_NOT_FOUND` ...; empty when the server gave none."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None
    """Seconds after which the server invites another try; None when it gave no hint."""


class LatensError(Exception):
    """A call that failed.

    Attributes:
        message: the server's sentence, or the library's where no server answered.
        code: the gRPC status, None for a failure found before a call was made.
        reason: the server's reason, empty when it gave none.
        field_violations: the fields of the request at fault.
        retry_after: seconds after which to try again, None without a hint from the server.
        metadata: what else the server said, by name (for example `incident`).
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
    """A field of the request is wrong; `field_violations` says which, and what was expected."""

    reasons = frozenset({"INVALID_INPUT"})


class TooLargeError(InvalidInputError):
    """One item, or a count that cannot be split, exceeds what a call may carry."""

    reasons = frozenset({"TOO_LARGE"})


class ModelNotFoundError(LatensError, LookupError):
    """The server has no such model or version; the message names those it has."""

    reasons = frozenset({"MODEL_NOT_FOUND"})


class OverloadedError(LatensError):
    """The server refused the work for want of room; the call was tried again before this."""


class QueueFullError(OverloadedError):
    """The server's queue was full, even after the retries; see `retry_after`."""

    reasons = frozenset({"QUEUE_FULL"})


class DeviceMemoryError(OverloadedError):
    """The server's device ran out of memory; fewer rows a call may pass."""

    reasons = frozenset({"DEVICE_MEMORY"})


class UnavailableError(LatensError, ConnectionError):
    """No server could be reached, or none of those reached takes calls."""


class DrainingError(UnavailableError):
    """The server is going away."""

    reasons = frozenset({"DRAINING"})


class NotReadyError(UnavailableError):
    """The model is not ready yet."""

    reasons = frozenset({"NOT_READY"})


class DeadlineExceededError(LatensError, TimeoutError):
    """The call did not end within its timeout."""


class UnauthenticatedError(LatensError):
    """The server wants a token, or does not know the one given."""


class PermissionDeniedError(LatensError, PermissionError):
    """The token does not allow this call."""


class CallCancelledError(LatensError):
    """The call was cancelled, and not by this program, even after the retries."""


class UnimplementedError(LatensError):
    """The server does not know the call: it is older than this client, or not a Latens server."""


class InternalError(LatensError):
    """The server failed; `metadata["incident"]` finds the cause in its log."""

    reasons = frozenset({"INTERNAL"})


class ResponseError(LatensError):
    """An answer that contradicts the contract."""


_BY_REASON: dict[str, type[LatensError]] = {
    reason: kind
    for kind in (
        InvalidInputError,
        TooLargeError,
        ModelNotFoundError,
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


def from_call(error: grpc.RpcError) -> LatensError:
    """The typed error of a failed call, sync or async: both know their code and trailers."""
    call: Any = error
    code: grpc.StatusCode = call.code()
    details = _details(_pairs(call.trailing_metadata()))
    kind = _BY_REASON.get(details.reason) or _BY_CODE.get(code, LatensError)
    return kind(call.details() or code.name, code, details)


def _pairs(metadata: Any) -> Sequence[tuple[str, str | bytes]]:
    return list(metadata or ())


def _details(trailers: Sequence[tuple[str, str | bytes]]) -> ErrorDetails:
    """Reads `google.rpc.Status` from the trailers; what cannot be read is as if it was not sent."""
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
