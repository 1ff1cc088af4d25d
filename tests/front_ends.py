"""Both front ends that speak gRPC, each in a server process of its own, and how tests call them."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from latens.v1 import latens_pb2_grpc
from server_process import Server, running_server

FRONT_ENDS = ("grpcio", "http2")
SECONDS = 60
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
# Only callers' rows are counted.
_OF_THEMSELVES = ("--canary-seconds=0", "--drift-seconds=0")


@contextmanager
def both_front_ends(repository: Path) -> Iterator[dict[str, Server]]:
    with (
        running_server(repository, "--frontend=grpcio", *_OF_THEMSELVES) as plain,
        running_server(repository, "--frontend=http2", *_OF_THEMSELVES) as fast,
    ):
        yield {"grpcio": plain, "http2": fast}


def images(rows: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((rows, 1, 28, 28), np.float32)


def stub_of(server: Server) -> tuple[grpc.Channel, latens_pb2_grpc.LatentServiceStub]:
    channel = grpc.insecure_channel(server.address, OPTIONS)
    return channel, latens_pb2_grpc.LatentServiceStub(channel)


def refusal(call: Any, request: object, **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, **{"timeout": SECONDS, **options})
    return caught.value


def metrics_of(server: Server) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{server.http_address}/metrics") as page:
        lines = page.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def settled_metrics_of(server: Server) -> dict[str, float]:
    """The metrics once no call is under way: a client may have its answer before it is counted."""
    limit = time.monotonic() + SECONDS
    while (found := metrics_of(server))["latens_calls_in_flight"]:
        assert time.monotonic() < limit, "a call that does not end"
    return found
