"""`latens-healthcheck` reports to a container engine whether the server answers calls."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from server_process import Server, running_server

COMMAND = [sys.executable, "-m", "latens_serving.healthcheck"]


def asked(http_port: int | str, host: str = "127.0.0.1") -> subprocess.CompletedProcess[str]:
    ours = {"LATENS_SERVE_HTTP_PORT": str(http_port), "LATENS_SERVE_HOST": host}
    return subprocess.run(
        COMMAND, env=os.environ | ours, capture_output=True, text=True, check=False, timeout=30
    )


def port_of(server: Server) -> str:
    return server.http_address.rpartition(":")[2]


def test_a_server_that_answers_calls_is_healthy(server: Server) -> None:
    assert asked(port_of(server)).returncode == 0


def test_a_server_on_every_address_is_asked_on_the_loopback_one(server: Server) -> None:
    assert asked(port_of(server), host="0.0.0.0").returncode == 0


def test_without_a_server_it_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    answer = asked(port)
    assert answer.returncode == 4
    assert str(port) in answer.stderr


def test_a_server_that_drains_is_not_healthy(model_repository: Path) -> None:
    with running_server(model_repository, "--drain-delay=60") as server:
        port = port_of(server)
        server.signal(signal.SIGTERM)
        server.wait_for("draining")
        answer = asked(port)
        assert (answer.returncode, "draining" in answer.stderr) == (4, True)
        server.kill()


def test_a_port_that_is_no_number_is_a_usage_error() -> None:
    assert asked("tcp://10.0.0.1:8080").returncode == 2


def test_it_imports_nothing_of_the_server() -> None:
    """It runs every few seconds: loading a runtime each time would take a core's hundredth."""
    code = "import latens_serving.healthcheck, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "grpc", "onnxruntime", "pydantic"} & set(done.stdout.split())
