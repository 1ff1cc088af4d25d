"""Errors as JSON: `{"code": "invalid_argument", "message": "...", "reason": "INVALID_INPUT"}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import grpc
from starlette.responses import JSONResponse, Response

from latens_serving.calls.boundary import Failure

HTTP_STATUSES: Final[Mapping[grpc.StatusCode, int]] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class HttpRefusal(Exception):  # noqa: N818 - an answer, as HTTP has it
    """The request does not fit the route, whatever the model: 405, 406 or 415."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer."""
        return _json(self.status, "invalid_argument", str(self), "INVALID_INPUT", self.headers)


def refusal(failure: Failure) -> Response:
    """The answer to a call that failed."""
    headers = {}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(failure.retry_after))
    status = HTTP_STATUSES.get(failure.code, 500)
    code = failure.code.name.lower().replace("cancelled", "canceled")
    return _json(status, code, failure.status.message, failure.reason, headers)


def _json(
    status: int, code: str, message: str, reason: str, headers: Mapping[str, str]
) -> JSONResponse:
    content = {"code": code, "message": message, "reason": reason}
    return JSONResponse(content, status_code=status, headers=dict(headers))
