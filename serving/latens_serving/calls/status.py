"""The one table from the service's failures to gRPC statuses, with their details.

Every status carries `google.rpc.ErrorInfo` (domain `latens`). Details stay under 4 KiB, since from
8 KiB on, trailers are dropped at random and the caller sees another error than the one sent.
"""

from __future__ import annotations

import math
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from latens_serving import errors

DOMAIN: Final = "latens"
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"

STATUS_CODES: Final[dict[type[errors.LatensError], grpc.StatusCode]] = {
    errors.InvalidInputError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooLargeError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ModelNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.OutOfDeviceMemoryError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DrainingError: grpc.StatusCode.UNAVAILABLE,
    errors.NotReadyError: grpc.StatusCode.UNAVAILABLE,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotOfferedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BundleRefusedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.EngineFailedError: grpc.StatusCode.INTERNAL,
}

# Bytes of UTF-8.
_LONGEST_MESSAGE = 512
_LONGEST_DESCRIPTION = 160
_LONGEST_FIELD = 64
_MOST_VIOLATIONS = 8


def code_of(error: errors.LatensError) -> grpc.StatusCode:
    """The status code of a failure."""
    return STATUS_CODES.get(type(error), grpc.StatusCode.INTERNAL)


def status_of(error: errors.LatensError) -> status_pb2.Status:
    """The whole status of a failure, as `google.rpc.Status`."""
    code: int = code_of(error).value[0]
    return _status(code, str(error), error.reason, error.metadata, _more_details(error))


def status_of_incident(incident: str) -> status_pb2.Status:
    """The status of a failure that is ours alone: where to look in our log, and nothing else."""
    code: int = grpc.StatusCode.INTERNAL.value[0]
    message = f"internal error; the server's log has it as incident {incident}"
    return _status(code, message, "INTERNAL", {"incident": incident}, [])


def pushback(retry_after: float | None) -> tuple[tuple[str, str], ...]:
    """The trailing metadata that the retry policy of a gRPC client obeys."""
    if retry_after is None:
        return ()
    return ((PUSHBACK_KEY, str(math.ceil(retry_after * 1000))),)


def _status(
    code: int, message: str, reason: str, metadata: dict[str, str], more: list[Message]
) -> status_pb2.Status:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)
    return status_pb2.Status(
        code=code,
        message=_cut(message, _LONGEST_MESSAGE),
        details=[_packed(detail) for detail in (info, *more)],
    )


def _more_details(error: errors.LatensError) -> list[Message]:
    details: list[Message] = []
    if isinstance(error, errors.InvalidInputError):
        details.append(_bad_request(error))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(math.ceil(error.retry_after * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return details


def _bad_request(error: errors.InvalidInputError) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=_cut(violation.field, _LONGEST_FIELD),
                description=_cut(violation.description, _LONGEST_DESCRIPTION),
            )
            for violation in error.violations[:_MOST_VIOLATIONS]
        ]
    )


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _cut(text: str, longest: int) -> str:
    """At most so many bytes of UTF-8, and a sign that there was more."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= longest:
        return encoded.decode()
    return encoded[: longest - 3].decode("utf-8", "ignore") + "…"
