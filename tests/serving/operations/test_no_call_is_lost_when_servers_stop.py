"""Two servers are killed and restarted under load: a client with both addresses loses no call."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import latens
from certificates import Authority
from latens import Client, Tls
from process_figures import metric_sum
from server_process import Server

_CALLERS = 4


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [taken.getsockname()[1] for taken in sockets]


class Load:
    """Callers that call without a pause and keep count."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(_CALLERS)
        self.done = [0] * _CALLERS
        self.failures: list[latens.LatensError] = []
        self._callers: list[Future[None]] = [
            self._pool.submit(self._call, caller) for caller in range(_CALLERS)
        ]

    def _call(self, caller: int) -> None:
        images = np.random.default_rng(caller).random((3, 1, 28, 28)).astype(np.float32)
        expected = self._client.encode(images).mean
        while not self._stop.is_set():
            try:
                mean = self._client.encode(images).mean
                np.testing.assert_allclose(mean, expected, atol=1e-5)
            except latens.LatensError as error:
                self.failures.append(error)
            self.done[caller] += 1

    def flows(self, calls: int = 20) -> None:
        """Returns once every caller has made so many further calls."""
        goal = [done + calls for done in self.done]
        deadline = time.monotonic() + 60
        while any(done < wanted for done, wanted in zip(self.done, goal, strict=True)):
            assert time.monotonic() < deadline, f"callers hang: {self.done} of {goal}"
            time.sleep(0.005)

    def reaches(self, server: Server) -> None:
        """Returns once a server that was started anew has its share, as a rollout waits for it."""
        deadline = time.monotonic() + 60
        while not metric_sum(server, "latens_rows_total"):
            assert time.monotonic() < deadline, "no call reaches the new server"
        self.flows()

    def end(self) -> None:
        self._stop.set()
        for caller in self._callers:
            caller.result(60)
        self._pool.shutdown()


@pytest.fixture
def start(model_repository: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers on given ports; those that still run are ended."""
    servers: list[Server] = []

    def start(port: int, *flags: str) -> Server:
        flags = (f"--port={port}", "--drain-delay=0.3", "--log-calls=none", *flags)
        server = Server(model_repository, *flags)
        servers.append(server)
        server.wait_for("serving")
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_kill_and_a_roll_lose_no_call(
    start: Callable[..., Server], tmp_path: Path, secure: bool
) -> None:
    first_port, second_port = free_ports(2)
    flags: tuple[str, ...] = ()
    tls = None
    if secure:
        authority = Authority(tmp_path)
        signed = authority.sign("server")
        flags = (f"--tls-certificate={signed.certificate}", f"--tls-key={signed.key}")
        tls = Tls(ca_file=authority.certificate)
    first, second = start(first_port, *flags), start(second_port, *flags)
    address = f"127.0.0.1:{first_port},127.0.0.1:{second_port}"
    with Client(address, tls=tls) as client:
        load = Load(client)
        load.flows()
        first.kill()
        load.flows()
        first = start(first_port, *flags)
        load.reaches(first)
        for rolled, port in ((second, second_port), (first, first_port)):
            rolled.signal(signal.SIGTERM)
            assert rolled.wait() == 0
            load.flows()
            load.reaches(start(port, *flags))
        load.end()
    assert load.failures == []
    assert min(load.done) >= 140
