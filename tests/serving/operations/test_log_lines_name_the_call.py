"""Each call has a name, the caller's or one of ours, in the log and in the answer to a failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from http_calls import call, request
from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from process_figures import wait_until
from server_process import Server, running_server

_SHAPE = (1, 1, 28, 28)
_WATCH_ENDED = re.compile(
    rb'^grpc_server_handled_total\{(?=.*"CANCELLED")(?=.*"Watch").*\} 1', re.MULTILINE
)


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def server(model_repository: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    flags = (f"--frontend={request.param}", "--log-calls=failures", "--canary-seconds=0")
    with running_server(model_repository, *flags) as server:
        yield server


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def failed(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    """The name of a call that fails, as the caller is told it."""
    stub: Any = latens_pb2_grpc.LatentServiceStub(channel)
    images = to_message(np.full(_SHAPE, 2, np.float32))
    with pytest.raises(grpc.RpcError) as raised:
        stub.Encode(pb.EncodeRequest(images=images, model="mnist-2d"), metadata=metadata)
    trailers: Any = raised.value
    return str(dict(trailers.trailing_metadata())["x-request-id"])


def test_a_failed_call_is_found_in_the_log(server: Server, channel: grpc.Channel) -> None:
    names = {failed(channel) for _ in range(3)}
    assert len(names) == 3
    for name in names:
        line = server.wait_for("call", request_id=name, seconds=10)
        assert line["code"] == "INVALID_ARGUMENT"


def test_the_callers_name_is_kept(server: Server, channel: grpc.Channel) -> None:
    assert failed(channel, (("x-request-id", "order-66"),)) == "order-66"
    server.wait_for("call", request_id="order-66", seconds=10)


@pytest.mark.parametrize("name", ["\xc3\xa9", "a\tb"])
def test_a_name_that_is_no_plain_text_is_replaced(server: Server, name: str) -> None:
    answer = call(server.http_address, "ListModels", {}, headers={"X-Request-Id": name})
    assert answer.status == 200
    assert answer.headers["x-request-id"] not in ("", name)


def test_answers_over_http_name_the_call(server: Server) -> None:
    address = server.http_address
    named = {"X-Request-Id": "mine"}
    assert call(address, "ListModels", {}, headers=named).headers["x-request-id"] == "mine"
    assert call(address, "ListModels", {}).headers["x-request-id"]
    refused = call(address, "GetModel", {"model": "none"})
    server.wait_for("call", request_id=refused.headers["x-request-id"], seconds=10)
    drawn = request(address, "/v1/sample?model=none", "POST", body=b"", headers=named)
    assert drawn.headers["x-request-id"] == "mine"


def test_daily_events_of_health_are_no_failures(server: Server, channel: grpc.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
        stub.Check(health_pb2.HealthCheckRequest(service="unknown"))
    wait_until(
        lambda: _WATCH_ENDED.search(request(server.http_address, "/metrics").body) is not None
    )
    server.wait_for("call", request_id=failed(channel), seconds=10)  # what came before is logged
    found = [line for line in server.lines if "Health" in str(line.get("method"))]
    assert not found, str(found)
