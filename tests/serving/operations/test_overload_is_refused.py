"""Under ten times the capacity of the queue, only the excess is refused, with a hint."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from latens import AsyncClient
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from process_figures import memory_of, metric_sum
from server_process import Server, running_server

QUEUE_ROWS = 8192
ROWS = 2048
CALLERS = 10 * QUEUE_ROWS // ROWS
# A longer form: LATENS_TEST_OVERLOAD_SECONDS=60.
SECONDS = float(os.environ.get("LATENS_TEST_OVERLOAD_SECONDS", "2"))
MOST_SECONDS = 60.0
MOST_GROWTH = 256 << 20
REQUEST = pb.SampleRequest(count=ROWS, image_dtype=pb.DATA_TYPE_UINT8)


class Offered:
    """What came of the calls, and the most that was seen to wait."""

    def __init__(self) -> None:
        self.codes: Counter[grpc.StatusCode] = Counter()
        self.hints: list[int] = []
        self.most_rows = 0.0

    def is_enough(self, end: float) -> bool:
        """After the agreed time, or later where the machine was too busy for the watch."""
        seen = self.hints and self.most_rows
        return time.monotonic() > (end if seen else end + MOST_SECONDS)

    async def call_until(self, end: float, stub: Any) -> None:
        while not self.is_enough(end):
            call = stub.Sample(REQUEST, timeout=60)
            code = await call.code()
            self.codes[code] += 1
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                trailers = dict(await call.trailing_metadata())
                self.hints.append(int(trailers["grpc-retry-pushback-ms"]))

    async def watch_until(self, end: float, server: Server) -> None:
        while not self.is_enough(end):
            waiting = await asyncio.to_thread(metric_sum, server, "latens_queue_rows")
            self.most_rows = max(self.most_rows, waiting)


@pytest.mark.parametrize("frontend", ["grpcio", "http2"])
async def test_excess_calls_are_refused_with_a_hint_and_memory_is_bounded(
    model_repository: Path, frontend: str
) -> None:
    flags = (f"--queue-rows={QUEUE_ROWS}", "--log-calls=none", f"--frontend={frontend}")
    with running_server(model_repository, *flags) as server:
        offered = Offered()
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = latens_pb2_grpc.LatentServiceStub(channel)
            for _ in range(3):
                await stub.Sample(REQUEST, timeout=60)
            before = memory_of(server.pid)
            end = time.monotonic() + SECONDS
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(offered.watch_until(end, server))
                for _ in range(CALLERS):
                    tasks.create_task(offered.call_until(end, stub))
            after = memory_of(server.pid)
            assert len((await stub.Sample(REQUEST, timeout=60)).images.data) == ROWS * 784
        assert set(offered.codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert 0 < offered.most_rows <= QUEUE_ROWS
        assert all(0 < hint <= 5000 for hint in offered.hints)
        assert after - before < MOST_GROWTH
        assert metric_sum(server, "latens_queue_rows") == 0


async def test_a_client_that_obeys_the_hint_gets_every_answer(model_repository: Path) -> None:
    flags = (f"--queue-rows={2 * ROWS}", "--log-calls=none")
    with running_server(model_repository, *flags) as server:
        async with AsyncClient(server.address) as client:
            answers = await asyncio.gather(
                *(client.sample(ROWS, seed=seed, image_dtype=np.uint8) for seed in range(3))
            )
        assert {len(answer.images) for answer in answers} == {ROWS}
