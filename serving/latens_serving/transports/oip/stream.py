"""ModelStreamInfer: the calls of one stream run side by side and are answered in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

from latens.oip import open_inference_pb2 as oip

Answer: TypeAlias = oip.ModelStreamInferResponse
Infer: TypeAlias = Callable[[oip.ModelInferRequest], Coroutine[Any, Any, Answer]]

WINDOW = 64
"""Calls of one stream that may be under way; more wait on the wire."""


async def answers(
    requests: AsyncIterator[oip.ModelInferRequest], infer: Infer
) -> AsyncIterator[Answer]:
    """Answers each request of a stream, in order.

    A caller who stops reading stops being read. `infer` turns failures into answers: one bad
    request does not end the stream.
    """
    under_way: asyncio.Queue[asyncio.Task[Answer] | None] = asyncio.Queue()
    window = asyncio.Semaphore(WINDOW)
    started: set[asyncio.Task[Answer]] = set()

    async def read() -> None:
        try:
            async for request in requests:
                await window.acquire()
                task = asyncio.create_task(infer(request))
                started.add(task)
                task.add_done_callback(started.discard)
                under_way.put_nowait(task)
        finally:
            under_way.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await under_way.get()) is not None:
            yield await task
            window.release()
        await reader  # raises what reading the stream raised
    finally:
        await _stop(reader, *started)


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
