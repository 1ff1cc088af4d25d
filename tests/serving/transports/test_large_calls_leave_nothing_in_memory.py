"""Large calls, refused or answered, and unread answers leave no memory behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from front_ends import stub_of
from large_calls import (
    CALLS,
    MODEL,
    MOST_GROWTH,
    Requests,
    ask_and_take_nothing,
    measure,
    settled_memory,
)
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.free_memory import FreeMemory
from latens_serving.errors import QueueFullError
from latens_serving.transports.grpc.unsent import UnsentAnswers
from process_figures import memory_of, wait_until
from server_process import Server, running_server

# A longer form: LATENS_TEST_MEMORY_CALLS=500.
COUNT = int(os.environ.get("LATENS_TEST_MEMORY_CALLS", "8"))
ROWS = 4000
"""12.5 MB as float32."""


@pytest.fixture(scope="module", params=["grpcio", "http2"])
def server(model_repository: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    flags = ("--log-calls=none", "--canary-seconds=0", "--drift-seconds=0")
    with running_server(model_repository, f"--frontend={request.param}", *flags) as running:
        yield running


@pytest.fixture(scope="module")
def requests() -> Requests:
    return Requests.of(ROWS)


@pytest.mark.parametrize("case", CALLS)
def test_large_calls_leave_no_memory_behind(server: Server, requests: Requests, case: str) -> None:
    held = measure(server, case, requests, COUNT)
    assert held.codes == (("OK",) if case.endswith("answered") else ("INVALID_ARGUMENT",))
    assert held.growth < MOST_GROWTH


def test_answers_that_a_connection_does_not_take_are_bounded(model_repository: Path) -> None:
    with running_server(model_repository, "--frontend=grpcio", "--log-calls=none") as server:
        channel, stub = stub_of(server)
        with channel:
            request = pb.SampleRequest(model=MODEL, count=ROWS)
            # What the engine and the allocator keep of one such round stays: once.
            ask_and_take_nothing(server, calls=60, rows=ROWS).close()
            before = settled_memory(server)
            with ask_and_take_nothing(server, calls=60, rows=ROWS):  # 750 MB of answers
                assert memory_of(server.pid) - before < 512 << 20
                # Who takes its answers is not made to pay.
                assert len(stub.Sample(request, timeout=60).images.data) == ROWS * 4 * 784
            wait_until(lambda: memory_of(server.pid) - before < MOST_GROWTH)
            assert stub.Sample(request, timeout=60).version == "1"


class Peer:
    """A call's context, as far as `UnsentAnswers` asks."""

    def __init__(self, name: str) -> None:
        self._name = name

    def peer(self) -> str:
        return self._name


async def test_the_connection_that_takes_nothing_is_refused_first() -> None:
    unsent, sent = UnsentAnswers(100_000, FreeMemory()), asyncio.Event()

    async def answer(peer: str) -> None:
        context: Any = Peer(peer)
        unsent.charge(context, 0, 10_000)
        await sent.wait()

    held = [asyncio.create_task(answer("greedy")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError) as caught:
        await answer("greedy")
    assert caught.value.retry_after
    neighbour = asyncio.create_task(answer("neighbour"))
    await asyncio.sleep(0)
    assert not neighbour.done()
    sent.set()
    await asyncio.gather(*held, neighbour)
    assert unsent.held == 0
