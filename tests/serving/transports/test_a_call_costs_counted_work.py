"""What a call costs on the HTTP/2 front end, counted and not timed: Python calls, memory, writes.

The bounds are ratios: whatever a call costs, its cost must not grow with the calls beside it or
with the images in it.
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
from latens.oip import open_inference_pb2 as oip
from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.admission import Admission
from latens_serving.calls.authorization import Tokens
from latens_serving.calls.boundary import Boundaries, CallPolicy
from latens_serving.engine.run_cost import RunCost
from latens_serving.models.loading import load
from latens_serving.models.repository import Repository
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.transports.http2.connection import Connection
from latens_serving.transports.oip.service import OpenInferenceService
from latens_serving.transports.servicer_routes import Http2FrontEnd
from latens_serving.transports.tensor_routes import add_tensor_routes
from memory_transport import MemoryTransport, connect
from raw_http2 import prefixed

ENCODE = "/latens.v1.LatentService/Encode"
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
CALLS = 32
# Of what the same calls cost one after the other.
MOST_SHARED = 0.6
# Of what a call of one image costs. The 64 images come in 13 frames.
MOST_OF_A_LARGE_CALL = 2
# Of Encode's, with the same image.
MOST_OF_MODEL_INFER = 1.3
# Bytes allocated at a time for a call of so many bytes, in multiples of it.
MOST_COPIES = 2.2


class Observer:
    def __init__(self, metrics: Metrics) -> None:
        self.ran = metrics.ran

    def recomputed(self, model: str, graph: str, rows: int) -> None:
        del model, graph, rows

    def lost(self, model: str, graph: str, error: BaseException) -> None:
        raise AssertionError(f"{model} {graph}: {error}")


@dataclass
class Setup:
    connection: Connection
    wire: MemoryTransport
    encoder: Encoder
    next_stream: int = 1

    def calls(self, request: bytes, count: int, path: str = ENCODE) -> bytes:
        """So many calls as a client sends them."""
        chunks = []
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]
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
async def setup(model_repository: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    metrics = Metrics()
    # Whatever the machine's pace: the run stays in the loop, and a call is not cut into parts.
    monkeypatch.setattr(RunCost, "part_elements", lambda *_: 1 << 40)
    monkeypatch.setattr(RunCost, "batch_elements", lambda *_: 1 << 40)
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
    open_inference = OpenInferenceService(models, Admission(models))
    boundaries = Boundaries(metrics, policy)
    add_tensor_routes(server, service, open_inference, boundaries, 64 << 20)
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


async def cost(setup: Setup, request: bytes, calls: int, path: str = ENCODE) -> int:
    """The Python calls of so many calls that arrive together."""
    for _ in range(6):  # fills what is remembered, until large pieces are parsed at once
        setup.connection.data_received(setup.calls(request, calls, path))
        await setup.answered()
    sent = setup.calls(request, calls, path)

    async def work() -> None:
        setup.connection.data_received(sent)
        assert ended(await setup.answered()) == calls

    return await counted(work)


async def test_calls_that_arrive_together_share_their_work(setup: Setup) -> None:
    alone = await cost(setup, request_of(1), 1)
    assert await cost(setup, request_of(1), CALLS) < MOST_SHARED * CALLS * alone


async def test_a_large_request_costs_no_more_python_calls_than_a_few_small_ones(
    setup: Setup,
) -> None:
    alone = await cost(setup, request_of(1), 1)
    assert await cost(setup, request_of(64), 1) < MOST_OF_A_LARGE_CALL * alone


async def test_an_open_inference_call_costs_little_more_than_encode(setup: Setup) -> None:
    image = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)
    tensor = oip.ModelInferRequest.InferInputTensor(
        name="images", datatype="FP32", shape=image.shape
    )
    request = oip.ModelInferRequest(
        model_name="mnist-2d-encoder", inputs=[tensor], raw_input_contents=[image.tobytes()]
    )
    infer = await cost(setup, request.SerializeToString(), CALLS, MODEL_INFER)
    assert infer < MOST_OF_MODEL_INFER * await cost(setup, request_of(1), CALLS)


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
