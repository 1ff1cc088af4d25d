"""A server in this process, and the questions that tests ask it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from latens.v1 import latens_pb2 as pb
from latens_serving.server import Server
from latens_serving.settings import Settings

ONE = pb.SampleRequest(count=1, seed=1)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def settings(repository: Path, **others: Any) -> Settings:
    return Settings(repository=repository, port=0, http_port=0, drain_delay=0, **others)


@contextlib.asynccontextmanager
async def called(latens: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{latens.port}") as channel:
        yield channel


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(request, timeout=20)
    return int(answer.status)


async def http(latens: Server, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", latens.http_port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = (await reader.readline()).split()[1]
    writer.close()
    await writer.wait_closed()
    return int(status)
