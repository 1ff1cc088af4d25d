"""`grpc.health.v1` by hand: two messages of one field each, and no further dependency.

Protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import grpc

from latens import wire
from latens.errors import LatensError, ResponseError, from_call

CHECK_PATH = "/grpc.health.v1.Health/Check"


class Health(Enum):
    """The state of a server, or of one of its services."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2


def request(service: str) -> bytes:
    """The message HealthCheckRequest; an empty service means the server as a whole."""
    name = service.encode()
    return b"\x0a" + wire.varint(len(name)) + name if name else b""


def failure(error: grpc.RpcError, service: str, timeout: float | None) -> LatensError:
    """The error of a failed check; here NOT_FOUND means the service, not a model."""
    call: Any = error
    if call.code() is grpc.StatusCode.NOT_FOUND:
        return LatensError(f"the server knows no service {service!r}", call.code())
    return from_call(error, timeout)


def answer(payload: bytes) -> Health:
    """The status in the message HealthCheckResponse.

    Raises:
        ResponseError: the bytes are no such message.
    """
    if not payload:
        return Health.UNKNOWN
    if len(payload) != 2 or payload[0] != 0x08 or payload[1] > Health.NOT_SERVING.value:
        raise ResponseError("the response of the health check cannot be parsed")
    return Health(payload[1])
