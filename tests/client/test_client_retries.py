"""Calls are repeated after errors that allow it, and after no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent import futures
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from latens import AsyncClient, Client, errors
from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from server_process import running_server

OVERLOADED = grpc.StatusCode.RESOURCE_EXHAUSTED
RETRIED = [grpc.StatusCode.UNAVAILABLE, OVERLOADED, grpc.StatusCode.CANCELLED]
NOT_RETRIED = [
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DEADLINE_EXCEEDED,
]
MAX_BYTES = 2**20


class Flaky(latens_pb2_grpc.LatentServiceServicer):
    """Decodes zeros, after as many failures as were asked for."""

    def __init__(self) -> None:
        self.failures: list[grpc.StatusCode] = []
        self.trailers: list[tuple[str, str]] = []
        self.sizes: list[int] = []

    def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:  # noqa: N802
        limits = pb.ModelLimits(max_rows=10**6, max_message_bytes=MAX_BYTES)
        model = pb.Model(image_shape=[1, 1, 1], latent_shape=[1], limits=limits)
        return pb.GetModelResponse(model=model)

    def Decode(self, request: pb.DecodeRequest, context: Any) -> pb.DecodeResponse:  # noqa: N802
        self.sizes.append(request.ByteSize())
        if self.failures:
            context.set_trailing_metadata(self.trailers)
            context.abort(self.failures.pop(0), "not this time")
        rows = len(to_array(request.latents))
        return pb.DecodeResponse(images=to_message(np.zeros((rows, 1, 1, 1), np.float32)))


@contextmanager
def serving(service: Flaky) -> Iterator[str]:
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        latens_pb2_grpc.add_LatentServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Flaky, str]]:
    service = Flaky()
    with serving(service) as address:
        yield service, address


@pytest.fixture
def flaky(place: tuple[Flaky, str]) -> Flaky:
    service, _ = place
    service.failures, service.trailers, service.sizes = [], [], []
    return service


@asynccontextmanager
async def _as_async(client: Client) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    with client:

        async def decode(latents: np.ndarray) -> Any:
            return await asyncio.to_thread(client.decode, latents)

        yield decode


@pytest.fixture(params=["sync", "async"])
async def decode(
    request: pytest.FixtureRequest, place: tuple[Flaky, str]
) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """`decode` of either client."""
    _, address = place
    if request.param == "sync":
        async with _as_async(Client(address)) as call:
            yield call
    else:
        async with AsyncClient(address) as client:
            yield client.decode


@pytest.mark.parametrize("code", RETRIED, ids=lambda code: code.name)
async def test_calls_that_a_server_could_not_accept_are_repeated(
    flaky: Flaky, decode: Callable[..., Awaitable[Any]], code: grpc.StatusCode
) -> None:
    flaky.failures = [code] * 2
    flaky.trailers = [("grpc-retry-pushback-ms", "1")]
    done = await decode(np.zeros((2, 1), np.float32))
    assert len(done.images) == 2
    assert len(flaky.sizes) == 3


@pytest.mark.parametrize("code", NOT_RETRIED, ids=lambda code: code.name)
async def test_calls_that_would_fail_again_are_not_repeated(
    flaky: Flaky, decode: Callable[..., Awaitable[Any]], code: grpc.StatusCode
) -> None:
    flaky.failures = [code]
    with pytest.raises(errors.LatensError, match="not this time") as raised:
        await decode(np.zeros((2, 1), np.float32))
    assert raised.value.code is code
    assert len(flaky.sizes) == 1


async def test_no_call_is_repeated_if_the_server_forbids_it(
    flaky: Flaky, decode: Callable[..., Awaitable[Any]]
) -> None:
    flaky.failures = [OVERLOADED]
    flaky.trailers = [("grpc-retry-pushback-ms", "-1")]
    with pytest.raises(errors.OverloadedError):
        await decode(np.zeros((2, 1), np.float32))
    assert len(flaky.sizes) == 1


async def test_large_and_small_requests_are_repeated_alike(
    flaky: Flaky, decode: Callable[..., Awaitable[Any]]
) -> None:
    flaky.failures = [grpc.StatusCode.UNAVAILABLE]
    flaky.trailers = [("grpc-retry-pushback-ms", "1")]
    rows = (MAX_BYTES - 8192) // 4
    await decode(np.zeros((rows, 1), np.float32))
    assert len(flaky.sizes) == 2
    assert flaky.sizes[0] == flaky.sizes[1] > 2**19


async def test_a_batch_that_exceeds_a_message_is_split(
    flaky: Flaky, decode: Callable[..., Awaitable[Any]]
) -> None:
    done = await decode(np.zeros((MAX_BYTES, 1), np.float32))
    assert len(done.images) == MAX_BYTES
    assert max(flaky.sizes) <= MAX_BYTES
    assert len(flaky.sizes) == 5


async def test_a_cancelled_call_is_not_repeated(flaky: Flaky, place: tuple[Flaky, str]) -> None:
    async with AsyncClient(place[1]) as client:
        await client.decode(np.zeros((1, 1), np.float32))
        task = asyncio.ensure_future(client.decode(np.zeros((1, 1), np.float32)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.decode(np.zeros((1, 1), np.float32))
    assert len(flaky.sizes) <= 3


def test_calls_continue_when_one_of_two_servers_stops(model_repository: Path) -> None:
    """One drains and ends while the other serves: no call is lost, before, during or after."""
    with (
        running_server(model_repository) as stays,
        running_server(model_repository) as goes,
        Client(f"{stays.address},{goes.address}") as client,
    ):
        expected = client.sample(3, seed=1).images
        with futures.ThreadPoolExecutor(1) as pool:
            ending = pool.submit(goes.stop)
            calls = 0
            while not ending.done() or calls < 50:
                found = client.sample(3, seed=1).images
                np.testing.assert_allclose(found, expected, atol=1e-5)
                calls += 1
            assert ending.result() == 0
