"""Invalid calls of all kinds at once, against one real server.

`python tests/chaos.py --repository models --calls 10000` starts a server, sends calls of random
kinds to it, some of them valid, and then checks that its state is as before.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import h2.config
import h2.connection
import numpy as np

from killed_clients import clients_killed_in_mid_call
from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from process_figures import files_of, memory_of, metric_sum
from server_process import Server, running_server

_METHODS = ("Encode", "Decode", "Sample", "Interpolate", "GetModel", "ListModels", "Nothing")
_AT_ONCE = 32
_REST_SECONDS = 30.0
_RESETS = 200

# What a caller may be told, whatever it did: a status of the table, and what a call sees that was
# cut off.
ALLOWED = frozenset(
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,  # a connection that did wrong may be closed
    )
)


@dataclass
class Report:
    """The calls that were made, and the state of the server before and after."""

    calls: int = 0
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    codes: collections.Counter[str] = field(default_factory=collections.Counter)
    memory_before: int = 0
    memory_after: int = 0
    files_before: int = 0
    files_after: int = 0
    gauges: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Chaos:
    """Invalid callers, one method per kind."""

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        own = [("grpc.use_local_subchannel_pool", 1)]
        self._right_channel = grpc.aio.insecure_channel(server.address, own)
        self._right = latens_pb2_grpc.LatentServiceStub(self._right_channel)
        self._channel = grpc.aio.insecure_channel(server.address, own)
        self._stub = latens_pb2_grpc.LatentServiceStub(self._channel)
        self._host, _, port = server.address.rpartition(":")
        self._port = int(port)
        self._http_port = int(server.http_address.rpartition(":")[2])
        self.report = Report()
        self._kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (30, self.right_call),
            (20, self.garbage_body),
            (15, self.short_deadline),
            (15, self.hang_up),
            (8, self.impossible_shape),
            (2, self.long_header),
            (2, self.silent_connection),
            (2, self.garbage_connection),
            (2, self.garbage_http),
            (1, self.never_reads),
            (1, self.resets),
        ]

    async def run(self, calls: int) -> None:
        """Makes `count` calls, several dozen at a time."""
        weights = [weight for weight, _ in self._kinds]
        free = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while self.report.calls < calls:
                await free.acquire()
                if self.report.calls < len(self._kinds):  # each at least once
                    (_, kind) = self._kinds[self.report.calls]
                else:
                    (_, kind) = self._random.choices(self._kinds, weights)[0]
                self.report.calls += 1
                tasks.create_task(self._one(kind, free))
        await self._channel.close()
        await self._right_channel.close()

    async def _one(self, kind: Callable[[], Awaitable[None]], free: asyncio.Semaphore) -> None:
        name = getattr(kind, "__name__", "call")
        self.report.kinds[name] += 1
        try:
            await kind()
            code = "ended"
        except grpc.aio.AioRpcError as error:
            _check(error, name)
            code = error.code().name
        except (OSError, asyncio.IncompleteReadError):
            code = "disconnected"
        finally:
            free.release()
        self.report.codes[code] += 1

    async def right_call(self) -> None:
        count = self._random.choice((1, 2, 7, 300))
        seed = self._random.randrange(1000)
        answer = await answered(self._right.Sample, pb.SampleRequest(count=count, seed=seed))
        images = to_array(answer.images)
        assert images.shape[0] == count
        assert answer.seed == seed
        encoded = await answered(self._right.Encode, pb.EncodeRequest(images=answer.images))
        assert np.isfinite(to_array(encoded.mean)).all()

    async def garbage_body(self) -> None:
        body = self._random.randbytes(self._random.choice((0, 1, 10, 1000, 100_000)))
        method = self._random.choice(_METHODS)
        send: Any = self._channel.unary_unary(f"/latens.v1.LatentService/{method}")
        await send(body, timeout=60)

    async def short_deadline(self) -> None:
        seconds = self._random.uniform(0, 0.01)
        await self._stub.Sample(pb.SampleRequest(count=2000), timeout=seconds)

    async def hang_up(self) -> None:
        call = self._stub.Sample(pb.SampleRequest(count=2000), timeout=60)
        await asyncio.sleep(self._random.uniform(0, 0.02))
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    async def impossible_shape(self) -> None:
        shape = [self._random.choice((-1, 0, 1, 28, 2**31, 2**62)) for _ in range(4)]
        tensor = pb.Tensor(
            dtype=pb.DATA_TYPE_FLOAT32, shape=shape, data=self._random.randbytes(3136)
        )
        await self._stub.Encode(pb.EncodeRequest(images=tensor), timeout=60)

    async def long_header(self) -> None:
        header = (("x-long", "x" * (64 << 10)),)
        await self._stub.Sample(pb.SampleRequest(count=1), timeout=60, metadata=header)

    async def silent_connection(self) -> None:
        _, writer = await asyncio.open_connection(self._host, self._port)
        await asyncio.sleep(self._random.uniform(0, 0.5))
        writer.close()

    async def garbage_connection(self) -> None:
        await self._throw(self._port, self._random.randbytes(self._random.choice((1, 100, 10_000))))

    async def garbage_http(self) -> None:
        start = self._random.choice((b"GET / HTTP/1.1\r\n", b"POST /latens", b"\x16\x03", b""))
        await self._throw(self._http_port, start + self._random.randbytes(1000))

    async def never_reads(self) -> None:
        """Asks for much, by a stream that it gives no room to answer on."""
        connection = _http2()
        connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        for stream in range(1, 41, 2):
            connection.send_headers(stream, self._headers())
            body = pb.SampleRequest(count=500).SerializeToString()
            connection.send_data(
                stream, b"\0" + len(body).to_bytes(4, "big") + body, end_stream=True
            )
        _, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(connection.data_to_send())
        await writer.drain()
        await asyncio.sleep(self._random.uniform(0.1, 1))
        writer.transport.abort()

    async def resets(self) -> None:
        """Opens streams and cancels each at once."""
        connection = _http2()
        for stream in range(1, 2 * _RESETS, 2):
            connection.send_headers(stream, self._headers())
            connection.reset_stream(stream)
        await self._throw(self._port, connection.data_to_send())

    def _headers(self) -> list[tuple[str, str]]:
        return [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/latens.v1.LatentService/Sample"),
            (":authority", self._host),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]

    async def _throw(self, port: int, content: bytes) -> None:
        reader, writer = await asyncio.open_connection(self._host, port)
        try:
            writer.write(content)
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1000), 0.2)
        finally:
            writer.close()


async def answered(rpc: Any, request: Any) -> Any:
    """The answer to a call, made again as long as a full queue refuses it, as clients do."""
    until = time.monotonic() + 60
    while True:
        try:
            return await rpc(request, timeout=until - time.monotonic())
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            hint = dict(error.trailing_metadata() or ())["grpc-retry-pushback-ms"]
        await asyncio.sleep(int(hint) / 1000)


def _check(error: grpc.aio.AioRpcError, name: str) -> None:
    assert name != "right_call", error  # a right call never fails
    assert error.code() in ALLOWED, (name, error)
    assert "Traceback" not in (error.details() or ""), (name, error)


def _http2() -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    return connection


def run_chaos(repository: Path, calls: int, seed: int, *flags: str, killed: int = 3) -> Report:
    """Runs the chaos against a server; fails if the server is not idle again afterwards."""
    with running_server(repository, "--log-calls=none", *flags) as server:
        asyncio.run(_let_loose(server, 200, seed + 1))  # to have caches and pools filled
        _rest(server)
        begun = time.monotonic()
        before = memory_of(server.pid), files_of(server.pid)
        report = asyncio.run(_let_loose(server, calls, seed, killed=killed))
        report.seconds = time.monotonic() - begun
        report.gauges = _rest(server)
        report.memory_before, report.files_before = before
        report.memory_after, report.files_after = memory_of(server.pid), files_of(server.pid)
        asyncio.run(_still_answers(server))
        return report


async def _let_loose(server: Server, calls: int, seed: int, killed: int = 0) -> Report:
    chaos = Chaos(server, seed)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(chaos.run(calls))
        if killed:
            tasks.create_task(clients_killed_in_mid_call(server, killed))
    return chaos.report


async def _still_answers(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        images = to_message(np.zeros((5, 1, 28, 28), np.float32))
        answer = await stub.Encode(pb.EncodeRequest(images=images), timeout=20)
        assert to_array(answer.mean).shape[0] == 5


def _rest(server: Server) -> dict[str, float]:
    """Waits until no call is in progress; returns the gauges."""
    deadline = time.monotonic() + _REST_SECONDS
    while True:
        gauges = _gauges(server)
        if not any(gauges.values()):
            return gauges
        assert time.monotonic() < deadline, f"not at rest: {gauges}"
        time.sleep(0.05)


def _gauges(server: Server) -> dict[str, float]:
    wanted = ("latens_calls_in_flight", "latens_queue_rows", "latens_queue_bytes")
    return {name: metric_sum(server, name) for name in wanted}


def main() -> None:
    """Runs it as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("models"))
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frontend", default="http2", choices=("http2", "grpcio"))
    chosen = parser.parse_args()
    report = run_chaos(
        chosen.repository, chosen.calls, chosen.seed, f"--frontend={chosen.frontend}"
    )
    for name, counts in (("kinds", report.kinds), ("outcomes", report.codes)):
        print(f"{name}: " + ", ".join(f"{key} {count}" for key, count in counts.most_common()))
    megabytes = report.memory_before / 2**20, report.memory_after / 2**20
    print(f"memory: {megabytes[0]:.0f} MiB before, {megabytes[1]:.0f} MiB after")
    print(f"open files: {report.files_before} before, {report.files_after} after")
    print(f"{report.calls} calls in {report.seconds:.0f} s; the server is at rest and answers")


if __name__ == "__main__":
    main()
