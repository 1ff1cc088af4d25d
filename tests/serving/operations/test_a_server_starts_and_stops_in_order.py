"""A server is ready when it can answer, and shuts down gracefully."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from latens.admin.v1 import admin_pb2, admin_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving import server as lifecycle
from latens_serving.models import loading
from model_folders import add_version
from server_in_process import NOT_SERVING, ONE, SERVING, called, health, http, settings
from server_process import Server, running_server


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
