"""A server is ready when it can answer, shuts down gracefully, and reports a dead engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from latens.admin.v1 import admin_pb2, admin_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving import cli
from latens_serving import server as lifecycle
from latens_serving.engine.batcher import Batcher, BatchLimits
from latens_serving.errors import (
    DeadlineError,
    DrainingError,
    EngineFailedError,
    LatensError,
    QueueFullError,
)
from latens_serving.models import loading
from latens_serving.monitoring.canary import Canary
from latens_serving.settings import Settings
from model_folders import add_version
from server_process import Server, running_server

ONE = pb.SampleRequest(count=1, seed=1)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def settings(repository: Path, **others: Any) -> Settings:
    return Settings(repository=repository, port=0, http_port=0, drain_delay=0, **others)


@contextlib.asynccontextmanager
async def called(latens: lifecycle.Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{latens.port}") as channel:
        yield channel


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(request, timeout=20)
    return int(answer.status)


async def http(latens: lifecycle.Server, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", latens.http_port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    status = (await reader.readline()).split()[1]
    writer.close()
    await writer.wait_closed()
    return int(status)


async def test_a_server_reports_serving_only_after_warm_up(
    model_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_load = threading.Event()
    real = loading.load

    def slow(*args: Any, **named: Any) -> Any:
        assert may_load.wait(30)
        return real(*args, **named)

    monkeypatch.setattr(lifecycle, "load", slow)
    latens = lifecycle.Server(settings(model_repository))
    starting = asyncio.ensure_future(latens.start())
    async with called(latens) as channel:
        assert await health(channel) == NOT_SERVING
        assert await health(channel, "latens.v1.LatentService") == NOT_SERVING
        assert (await http(latens, "/healthz"), await http(latens, "/readyz")) == (200, 503)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await latens_pb2_grpc.LatentServiceStub(channel).Sample(ONE, timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "NOT_READY" in str(caught.value.trailing_metadata())
        may_load.set()
        await starting
        for service in ("", "latens.v1.LatentService", "models/mnist-2d", "models/point"):
            assert await health(channel, service) == SERVING
        assert await http(latens, "/readyz") == 200
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(channel, "models/nothing")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await latens.stop()


STUCK = """
import sys, threading
from latens_serving import cli, server

def load(*args, **named):
    threading.Event().wait()

server.load = load
sys.argv = ["latens-serve", *sys.argv[1:]]
cli.main()
"""


STUCK_ON_VERSION_2 = """
import sys, threading
from latens_serving import cli, server

real = server.load

def load(directory, *args, **named):
    if directory.name == "2":
        print("stuck", file=sys.stderr, flush=True)
        threading.Event().wait()
    return real(directory, *args, **named)

server.load = load
sys.argv = ["latens-serve", *sys.argv[1:]]
cli.main()
"""


def test_a_signal_ends_a_serving_server_while_a_load_does_not_end(
    model_repository: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    shutil.copytree(model_repository / "mnist-2d", repository / "mnist-2d")
    flags = (f"--repository={repository}", "--port=0", "--http-port=0", "--drain-delay=0")
    server = subprocess.Popen(
        [
            sys.executable,
            "-c",
            STUCK_ON_VERSION_2,
            *flags,
            "--watch-seconds=0.05",
            "--log-format=text",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        while " serving " not in server.stderr.readline():
            assert server.poll() is None
        add_version(repository, 2)
        while server.stderr.readline() != "stuck\n":
            assert server.poll() is None
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0
    assert log.rstrip().endswith("stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_whose_load_does_not_end_before_it_serves(
    model_repository: Path, number: signal.Signals
) -> None:
    flags = (f"--repository={model_repository}", "--port=0", "--http-port=0", "--admin-port=0")
    server = subprocess.Popen(
        [sys.executable, "-c", STUCK, *flags, "--log-format=json"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        first = server.stderr.readline()
        assert json.loads(first)["message"] == "loading models"
        server.send_signal(number)
        _, log = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0
    assert [json.loads(line)["message"] for line in log.splitlines()] == ["stopped while loading"]


async def test_a_server_that_is_asked_to_stop_while_it_loads_never_becomes_healthy(
    model_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_load = threading.Event()
    said: list[bool] = []
    real = loading.load

    def slow(*args: Any, **named: Any) -> Any:
        assert may_load.wait(30)
        return real(*args, **named)

    monkeypatch.setattr(lifecycle, "load", slow)
    latens = lifecycle.Server(settings(model_repository))
    set_serving = latens.health.set_serving

    async def noted(serving: bool) -> None:
        said.append(serving)
        await set_serving(serving)

    monkeypatch.setattr(latens.health, "set_serving", noted)
    starting = asyncio.ensure_future(latens.start())
    async with called(latens) as channel:
        assert await health(channel) == NOT_SERVING
        latens.leave.set()
        assert await starting is False
    await latens.abandon()
    may_load.set()
    assert said == [False]


async def test_a_lost_engine_ends_the_server_with_not_serving_and_a_failure(
    model_repository: Path,
) -> None:
    latens = lifecycle.Server(settings(model_repository))
    await latens.start()
    async with called(latens) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        ending = asyncio.ensure_future(latens.run_until_stopped())
        await asyncio.to_thread(latens.lost, "mnist-2d", "encoder", RuntimeError("gone"))
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
    await ending
    assert isinstance(latens.failed, RuntimeError)


async def test_the_canary_detects_wrong_outputs(model_repository: Path) -> None:
    latens = lifecycle.Server(settings(model_repository))
    await latens.start()
    lost: list[tuple[str, str, str]] = []
    canary = Canary(latens.models, lambda *told: lost.append((*told[:2], str(told[2]))))
    model = latens.models.pick("mnist-2d", "1")
    await canary.check(model)
    assert lost == []
    real = model.decoder._run
    model.decoder._run = lambda rows: tuple(np.full_like(out, 0.5) for out in real(rows))
    await canary.check(model)
    assert [told[:2] for told in lost] == [("mnist-2d", "decoder")]

    def broken(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        raise RuntimeError("gone")

    model.encoder._run = broken
    await canary.check(model)
    assert ("mnist-2d", "encoder", "the engine failed") in lost
    await latens.stop()


async def test_a_canary_whose_row_never_ran_reports_no_lost_engine(model_repository: Path) -> None:
    latens = lifecycle.Server(settings(model_repository))
    await latens.start()
    lost: list[str] = []
    canary = Canary(latens.models, lambda _, graph, error: lost.append(graph))
    model = latens.models.pick("mnist-2d", "1")
    for error in (DeadlineError("late"), QueueFullError("full"), DrainingError("bye")):

        async def refuse(rows: Any, deadline: Any, error: Exception = error) -> Any:
            raise error

        graphs: Any = model.batchers
        for batcher in graphs.values():
            batcher.submit = refuse
        await canary.check(model)
    assert lost == []
    await latens.stop()


async def test_the_canary_checks_idle_models_only(model_repository: Path) -> None:
    latens = lifecycle.Server(settings(model_repository, canary_seconds=0.02))
    await latens.start()
    model = latens.models.pick("point", "1")
    async with asyncio.timeout(20):
        while not model.statistics["decoder"].runs:
            await asyncio.sleep(0.01)
    await latens.stop()
    assert latens.failed is None


class Dead(BaseException):
    """What ends a thread: no failure of a run."""


async def test_a_dead_engine_thread_fails_its_callers_and_ends_the_server(
    model_repository: Path,
) -> None:
    latens = lifecycle.Server(settings(model_repository, inline_seconds=0))
    await latens.start()
    ending = asyncio.ensure_future(latens.run_until_stopped())

    def dead(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        raise Dead

    latens.models.pick("mnist-2d", "1").decoder._run = dead
    async with called(latens) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Sample(pb.SampleRequest(model="mnist-2d", count=1), timeout=60)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
    await ending
    assert isinstance(latens.failed, Dead)
    assert not latens.health.serving


async def test_the_failure_of_an_idle_device_is_detected_with_exit_code_1(
    model_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[lifecycle.Server] = []

    class Remembered(lifecycle.Server):
        async def run_until_stopped(self) -> None:
            made.append(self)
            self.models.pick("point", "1").decoder._run = broken
            await super().run_until_stopped()

    def broken(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        raise RuntimeError("gone")

    monkeypatch.setattr(cli, "Server", Remembered)
    assert await cli._live(settings(model_repository, canary_seconds=0.02)) == 1
    assert isinstance(made[0].failed, LatensError)
    assert not made[0].health.serving


async def test_a_run_that_does_not_end_is_abandoned() -> None:
    deaths: list[BaseException] = []
    end = threading.Event()

    def stuck(rows: np.ndarray) -> tuple[np.ndarray]:
        end.wait(30)
        return (rows,)

    batcher = Batcher(stuck, BatchLimits(stuck_seconds=0.05), died=deaths.append)
    with pytest.raises(EngineFailedError):
        await batcher.submit(np.zeros((1, 1)))
    assert [type(death) for death in deaths] == [TimeoutError]
    end.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_accepted_calls_finish_and_the_exit_code_is_0(
    model_repository: Path, number: signal.Signals
) -> None:
    with (
        running_server(model_repository, "--log-calls=none", "--queue-rows=100000") as server,
        grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel,
        ThreadPoolExecutor(6) as pool,
    ):
        sample = latens_pb2_grpc.LatentServiceStub(channel).Sample
        large = pb.SampleRequest(count=16384, seed=1, image_dtype=pb.DATA_TYPE_UINT8)
        sample(ONE, timeout=20)
        calls = [pool.submit(sample, large, timeout=60) for _ in range(6)]
        _await_rows(server)
        server.signal(number)
        errors: list[Any] = [error for call in calls if (error := call.exception()) is not None]
        assert {error.code() for error in errors} <= {grpc.StatusCode.UNAVAILABLE}
        assert server.wait() == 0
    assert server.wait_for("stopped")
    accepted = server.wait_for("draining")["calls"]
    assert 0 < accepted <= len(calls) - len(errors)


def _await_rows(server: Server) -> None:
    """Returns once calls are under way."""
    host, _, port = server.http_address.rpartition(":")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            text = connection.makefile().read()
        if any(
            line.startswith("latens_queue_rows") and float(line.split()[-1]) > 0
            for line in text.splitlines()
        ):
            return
    raise AssertionError("no call came under way")


def test_draining_reports_not_serving_before_it_refuses_calls(model_repository: Path) -> None:
    with (
        running_server(model_repository, "--drain-delay=0.6", "--admin-port=0") as server,
        grpc.insecure_channel(server.address) as channel,
        grpc.insecure_channel(server.wait_for("serving")["admin_address"]) as private,
    ):
        sample = latens_pb2_grpc.LatentServiceStub(channel).Sample
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        admin_pb2_grpc.AdminServiceStub(private).Drain(admin_pb2.DrainRequest(), timeout=20)
        assert next(watch).status == NOT_SERVING
        assert sample(ONE, timeout=20).seed == 1  # routes lag behind: still answered
        watch.cancel()
        codes = set()
        while server.is_running():
            try:
                sample(ONE, timeout=20)
            except grpc.RpcError as error:
                codes.add(error.code())
        assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert grpc.StatusCode.UNAVAILABLE in codes
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(model_repository: Path, number: signal.Signals) -> None:
    with running_server(model_repository, "--drain-delay=300") as server:
        server.signal(signal.SIGTERM)
        server.wait_for("draining")
        server.signal(number)
        assert server.wait() == 128 + number
