"""What a call costs on the HTTP/2 front end, counted and not timed: Python calls, memory, writes.

The bounds are what was counted when the test was written, and a little more. Who goes beyond one
makes every call dearer, and should know.
"""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hpack import Encoder

import http2_frames as frames
from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.admission import Admission
from latens_serving.calls.authorization import Tokens
from latens_serving.calls.boundary import Boundaries, CallPolicy
from latens_serving.models.loading import load
from latens_serving.models.repository import Repository
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.transports.http2.connection import Connection
from latens_serving.transports.servicer_routes import Http2FrontEnd
from latens_serving.transports.tensor_routes import add_tensor_routes
from memory_transport import MemoryTransport, connect
from raw_http2 import prefixed

ENCODE = "/latens.v1.LatentService/Encode"
CALLS = 32
# Python calls of one single-image call among 32, C functions included.
MOST_CALLS = 152
# The same of one call of 64 images, whose request comes in 13 frames.
MOST_OF_A_LARGE_CALL = 490
# Bytes allocated at a time for a call of so many bytes, in multiples of it.
MOST_COPIES = 2.2


class Observer:
    def __init__(self, metrics: Metrics) -> None:
        self.ran = metrics.ran

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        raise AssertionError(f"{model} {graph}: {error}")


@dataclass
class Setup:
    connection: Connection
    wire: MemoryTransport
    encoder: Encoder
    next_stream: int = 1

    def calls(self, request: bytes, count: int) -> bytes:
        """So many calls as a client sends them."""
        chunks = []
        fields = [(":method", "POST"), (":scheme", "http"), (":path", ENCODE), (":authority", "x")]
        fields += [("content-type", "application/grpc"), ("te", "trailers")]
        body = prefixed(request)
        for _ in range(count):
            number, self.next_stream = self.next_stream, self.next_stream + 2
            block = self.encoder.encode(fields)
            chunks.append(frames.frame(frames.HEADERS, frames.END_HEADERS, number, block))
            for start in range(0, len(body), 16384):
                last = frames.END_STREAM if start + 16384 >= len(body) else 0
                piece = body[start : start + 16384]
                chunks.append(frames.frame(frames.DATA, last, number, piece))
        return b"".join(chunks)

    async def answered(self) -> list[bytes]:
        """What was written, once no stream is open."""
        while self.connection.calls.streams:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        writes, self.wire.writes = self.wire.writes, []
        return writes


@pytest.fixture
async def setup(model_repository: Path) -> AsyncIterator[Setup]:
    metrics = Metrics()
    # Whatever the machine's pace: the run stays in the loop, and nothing waits for a thread.
    options = Settings(device="cpu", inline_seconds=1e9).load_options()
    models = Repository(
        model_repository,
        lambda path: load(path, options, Observer(metrics)),
        default_model="mnist-2d",
    )
    await models.refresh()
    service = LatentService(models, Admission(models))
    server = Http2FrontEnd()
    policy = CallPolicy(tokens=Tokens(None), scope="infer", max_deadline=60.0, log_calls="none")
    add_tensor_routes(server, service, Boundaries(metrics, policy), 64 << 20)
    connection, wire = connect(server.server)
    acknowledged = frames.frame(frames.SETTINGS, frames.ACK, 0)
    connection.data_received(frames.PREFACE + frames.settings({}) + acknowledged)
    wire.writes.clear()
    ready = Setup(connection, wire, Encoder())
    yield ready
    models.close()


def frames_of(writes: list[bytes]) -> list[tuple[int, int, bytes]]:
    """Kind, flags and payload of every frame that was written."""
    written, position, found = b"".join(writes), 0, []
    while position < len(written):
        sized, flags, _ = frames.HEAD.unpack_from(written, position)
        begin = position + frames.HEADER_SIZE
        position = begin + (sized >> 8)
        found.append((sized & 0xFF, flags, written[begin:position]))
    return found


def ended(writes: list[bytes]) -> int:
    """How many answers were written to their end."""
    return sum(
        kind == frames.HEADERS and bool(flags & frames.END_STREAM)
        for kind, flags, _ in frames_of(writes)
    )


def request_of(rows: int) -> bytes:
    images = np.random.default_rng(0).random((rows, 1, 28, 28), np.float32)
    return pb.EncodeRequest(images=to_message(images)).SerializeToString()


async def counted(work: Callable[[], Any]) -> int:
    """Calls of Python and C functions until what was asked is answered."""
    count = 0

    def count_calls(_: object, event: str, __: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    sys.setprofile(count_calls)
    try:
        await work()
    finally:
        sys.setprofile(None)
    return count


async def test_a_single_image_costs_a_bounded_number_of_python_calls(setup: Setup) -> None:
    request = request_of(1)
    for _ in range(2):  # the first calls fill what is remembered
        setup.connection.data_received(setup.calls(request, CALLS))
        await setup.answered()
    sent = setup.calls(request, CALLS)

    async def work() -> list[bytes]:
        setup.connection.data_received(sent)
        return await setup.answered()

    assert await counted(work) / CALLS < MOST_CALLS


async def test_a_large_request_costs_few_python_calls_per_frame(setup: Setup) -> None:
    request = request_of(64)
    for _ in range(6):  # until large pieces are parsed at once
        setup.connection.data_received(setup.calls(request, 1))
        await setup.answered()
    sent = setup.calls(request, 1)

    async def work() -> list[bytes]:
        setup.connection.data_received(sent)
        return await setup.answered()

    assert await counted(work) < MOST_OF_A_LARGE_CALL


async def test_concurrent_calls_are_run_and_answered_together(setup: Setup) -> None:
    setup.connection.data_received(setup.calls(request_of(1), CALLS))
    writes = await setup.answered()
    assert len(writes) == 1
    assert ended(writes) == CALLS


async def test_a_large_request_is_held_in_memory_little_more_than_once(setup: Setup) -> None:
    request = request_of(1024)
    setup.connection.data_received(setup.calls(request, 1))
    await setup.answered()
    chunks = [setup.calls(request, 1)]
    chunks = [chunks[0][at : at + 262144] for at in range(0, len(chunks[0]), 262144)]
    tracemalloc.start()
    try:
        for chunk in chunks:
            setup.connection.data_received(chunk)
        writes = await setup.answered()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_COPIES * len(request)
    assert ended(writes) == 1


async def test_the_counted_calls_are_answered_correctly(setup: Setup) -> None:
    """The numbers above are worth nothing if the answers are wrong."""
    setup.connection.data_received(setup.calls(request_of(3), 1))
    written = frames_of(await setup.answered())
    data = b"".join(payload for kind, _, payload in written if kind == frames.DATA)
    answer = pb.EncodeResponse.FromString(data[5:])
    assert to_array(answer.mean).shape == (3, 2)
    assert to_array(answer.log_var).shape == (3, 2)
