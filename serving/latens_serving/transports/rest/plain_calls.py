"""One call over plain HTTP, surrounded by the call boundary as on every other transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import TypeAlias

import grpc
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from latens_serving.calls.boundary import REQUEST_ID_KEY, Boundaries, CallBoundary
from latens_serving.calls.context import CallContext
from latens_serving.errors import TooLargeError
from latens_serving.transports.http.transfers import hold_answer
from latens_serving.transports.rest.refusals import HttpRefusal, refusal
from latens_serving.transports.tracing import Tracing

Work: TypeAlias = Callable[[Request, CallContext], Awaitable[Response]]

SERVICE = "rest"
"""The name of the service in metrics and logs."""


class PlainCalls:
    """Makes routes whose calls are authorized, bounded, counted and logged."""

    def __init__(self, boundaries: Boundaries, tracing: Tracing | None) -> None:
        self._boundaries = boundaries
        self._tracing = tracing

    def route(self, path: str, name: str, work: Work) -> Route:
        """A route for POST requests.

        Args:
            path: as Starlette has it.
            name: of the method in metrics and logs.
            work: answers a request; what it raises becomes an answer, too.
        """
        method = f"/{SERVICE}/{name}"
        return Route(path, _PlainCall(method, work, self._boundaries.of(method), self._tracing))


class _PlainCall:
    """The ASGI application of one route."""

    def __init__(
        self, method: str, work: Work, boundary: CallBoundary, tracing: Tracing | None
    ) -> None:
        self._method = method
        self._work = work
        self._boundary = boundary
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        call = self._boundary.begin(None, request.headers.get(REQUEST_ID_KEY, ""))
        response = await self._answer(request, call)
        response.headers[REQUEST_ID_KEY] = call.request_id
        await response(scope, receive, send)

    async def _answer(self, request: Request, call: CallContext) -> Response:
        boundary = self._boundary
        try:
            boundary.admit(request.headers.get("authorization", ""), call)
            _check_method(request)
            response = await self._traced(request, call)
            hold_answer(len(response.body))
        except HttpRefusal as error:
            boundary.end(call, grpc.StatusCode.INVALID_ARGUMENT)
            return error.response()
        except ClientDisconnect:
            return refusal(boundary.fail(call, asyncio.CancelledError()))
        except asyncio.CancelledError as error:
            boundary.fail(call, error)
            raise
        except Exception as error:
            return refusal(boundary.fail(call, error))
        boundary.succeed(call)
        return response

    async def _traced(self, request: Request, call: CallContext) -> Response:
        tracing = self._tracing
        headers = request.headers.items()
        around = tracing.span(self._method, headers, call, "http") if tracing else nullcontext()
        with around:
            return await self._work(request, call)


def _check_method(request: Request) -> None:
    if request.method != "POST":
        said = f"expected POST, not {request.method[:20]}"
        raise HttpRefusal(405, said, {"Allow": "POST"})


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        TooLargeError: more bytes than a body may have.
    """
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise TooLargeError.at("request", f"expected at most {most} bytes over HTTP")
        pieces.append(piece)
    return b"".join(pieces)


def media_type(request: Request) -> str:
    """The type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def accepted(request: Request, offered: Sequence[str]) -> str:
    """The first type that the caller names among those offered; the first of them for any.

    Raises:
        HttpRefusal: the caller accepts none of them.
    """
    wanted = [
        each.partition(";")[0].strip().lower()
        for each in request.headers.get("accept", "*/*").split(",")
    ]
    for name in wanted:
        if name in ("*/*", ""):
            return offered[0]
        for offer in offered:
            if name in (offer, f"{offer.partition('/')[0]}/*"):
                return offer
    raise HttpRefusal(406, f"expected Accept to name one of {', '.join(offered)}")
