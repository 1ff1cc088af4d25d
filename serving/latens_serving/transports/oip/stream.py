"""ModelStreamInfer: the calls of one stream run side by side and are answered in their order."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeAlias

from latens.oip import open_inference_pb2 as oip
from latens_serving.calls.boundary import CallBoundary, Failure
from latens_serving.calls.context import CallContext
from latens_serving.transports.oip.service import OpenInferenceService

Request: TypeAlias = oip.ModelInferRequest
Answer: TypeAlias = oip.ModelStreamInferResponse
Infer: TypeAlias = Callable[[Request], Coroutine[Any, Any, Answer]]

WINDOW = 64
"""Calls of one stream that may be under way; more wait on the wire."""
WINDOW_BYTES = 32 << 20
"""Bytes of their tensors above which no further one is read."""


class StreamInfer:
    """The stream RPC of the protocol. One bad request does not end the stream."""

    def __init__(self, service: OpenInferenceService, boundary: CallBoundary) -> None:
        """Makes the RPC.

        Args:
            service: answers each request.
            boundary: of the RPC; each request is counted and refused by its rules.
        """
        self._service = service
        self._boundary = boundary

    def model_stream_infer(
        self, requests: AsyncIterator[Request], call: CallContext
    ) -> AsyncIterator[Answer]:
        """Answers the requests in order; what fails becomes an answer with the error's text."""

        async def infer(request: Request) -> Answer:
            own = dataclasses.replace(call)
            try:
                answer = await self._service.model_infer(request, own)
            except Exception as error:
                failure = self._boundary.refuse_message(own, error)
            else:
                self._boundary.answer_message(own)
                call.model, call.version = own.model, own.version
                return Answer(infer_response=answer)
            return Answer(
                error_message=_text(failure), infer_response=oip.ModelInferResponse(id=request.id)
            )

        return answers(requests, infer)


class _Window:
    """What the calls of one stream may hold together."""

    def __init__(self) -> None:
        self._calls = 0
        self._bytes = 0
        self._left: asyncio.Event = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Waits for room; a call larger than the window has it alone."""
        while self._calls >= WINDOW or (self._calls and self._bytes + size > WINDOW_BYTES):
            self._left.clear()
            await self._left.wait()
        self._calls += 1
        self._bytes += size

    def change(self, size: int) -> None:
        """A request of some size became an answer of another; `size` is the difference."""
        self._bytes += size

    def leave(self, size: int) -> None:
        self._calls -= 1
        self._bytes -= size
        self._left.set()


async def answers(requests: AsyncIterator[Request], infer: Infer) -> AsyncIterator[Answer]:
    """Answers each request of a stream, in order.

    A caller who stops reading answers is not read from either. `infer` turns failures into answers.
    """
    under_way: asyncio.Queue[asyncio.Task[Answer] | None] = asyncio.Queue()
    window = _Window()
    started: set[asyncio.Task[Answer]] = set()

    async def sized(request: Request, size: int) -> Answer:
        answer = await infer(request)
        window.change(_size(answer.infer_response.outputs) - size)
        return answer

    async def read() -> None:
        try:
            async for request in requests:
                size = _size(request.inputs)
                await window.enter(size)
                task = asyncio.create_task(sized(request, size))
                del request
                started.add(task)
                task.add_done_callback(started.discard)
                under_way.put_nowait(task)
                del task
        finally:
            under_way.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await under_way.get()) is not None:
            answer = await task
            del task
            yield answer
            window.leave(_size(answer.infer_response.outputs))
            del answer
        await reader  # raises what reading the stream raised
    finally:
        await _stop(reader, *started)


def _size(tensors: Iterable[Any]) -> int:
    """The bytes of tensors by their shapes. Reading their data would copy it."""
    return sum(4 * abs(math.prod(tensor.shape)) for tensor in tensors)


def _text(failure: Failure) -> str:
    """The failure as the protocol's one text, the status first, as its clients show it."""
    return f"{failure.code.name}: {failure.status.message}"


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
