"""Bytes that are no message: refused alike on every transport, for every RPC, after the token."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from front_ends import metrics_of, refusal, settled_metrics_of
from latens.oip import open_inference_pb2 as oip
from latens.oip import open_inference_pb2_grpc
from latens.v1 import latens_pb2 as pb
from server_process import Server, running_server

TOKEN = "0123456789abcdef"
GARBAGE = b"\xff\xff\xff"
SERVICES = (
    pb.DESCRIPTOR.services_by_name["LatentService"],
    oip.DESCRIPTOR.services_by_name["GRPCInferenceService"],
)
METHODS = [
    (service.full_name, method.name)
    for service in SERVICES
    for method in service.methods
    if not method.server_streaming
]


@pytest.fixture(scope="module", params=["grpcio", "http2"])
def server(
    model_repository: Path, tmp_path_factory: pytest.TempPathFactory, request: Any
) -> Iterator[Server]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"infer {TOKEN}\n")
    flags = (f"--frontend={request.param}", f"--tokens={tokens}", "--canary-seconds=0")
    with running_server(model_repository, *flags) as running:
        yield running


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as open_channel:
        yield open_channel


def handled(server: Server, method: str, code: str) -> float:
    name = (
        f'grpc_server_handled_total{{grpc_code="{code}",grpc_method="{method}",'
        f'grpc_service="latens.v1.LatentService",grpc_type="unary"}}'
    )
    return settled_metrics_of(server).get(name, 0.0)


@pytest.mark.parametrize(("service", "method"), METHODS)
def test_garbage_is_an_invalid_argument(channel: grpc.Channel, service: str, method: str) -> None:
    call: Any = channel.unary_unary(f"/{service}/{method}")
    headers = (("authorization", f"Bearer {TOKEN}"),)
    error = refusal(call, GARBAGE, metadata=headers)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailers: Any = error.trailing_metadata()
    assert "grpc-status-details-bin" in [entry[0] for entry in trailers]
    assert refusal(call, GARBAGE).code() is grpc.StatusCode.UNAUTHENTICATED


def test_garbage_is_counted_and_leaves_no_traceback(server: Server, channel: grpc.Channel) -> None:
    before = handled(server, "Score", "INVALID_ARGUMENT")
    headers = (("authorization", f"Bearer {TOKEN}"),)
    refusal(channel.unary_unary("/latens.v1.LatentService/Score"), GARBAGE, metadata=headers)
    assert handled(server, "Score", "INVALID_ARGUMENT") == before + 1
    assert not any("traceback" in line for line in server.lines)
    assert not any("Traceback" in line for line in server.noise)


@pytest.mark.parametrize("content_type", ["application/json", "application/proto"])
@pytest.mark.parametrize(
    ("token", "status", "code"),
    [(TOKEN, 400, "INVALID_ARGUMENT"), ("x" * 16, 401, "UNAUTHENTICATED")],
)
def test_garbage_over_http_is_answered_and_counted_alike(
    server: Server, content_type: str, token: str, status: int, code: str
) -> None:
    before = handled(server, "Decode", code)
    headers = {"content-type": content_type, "authorization": f"Bearer {token}"}
    url = f"http://{server.http_address}/latens.v1.LatentService/Decode"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, GARBAGE, headers), timeout=60)
    with caught.value as answer:
        assert answer.status == status
        assert b"Traceback" not in answer.read()
    assert handled(server, "Decode", code) == before + 1


def test_a_stream_counts_the_rows_of_its_answers(server: Server, channel: grpc.Channel) -> None:
    name = 'latens_rows_total{grpc_method="ModelStreamInfer",model="mnist-2d"}'
    before = metrics_of(server).get(name, 0.0)
    images = oip.ModelInferRequest.InferInputTensor(
        name="images", datatype="UINT8", shape=[3, 1, 28, 28]
    )
    good = oip.ModelInferRequest(
        model_name="mnist-2d-encoder",
        inputs=[images],
        raw_input_contents=[np.zeros((3, 1, 28, 28), np.uint8).tobytes()],
    )
    bad = oip.ModelInferRequest(model_name="mnist-2d-encoder")
    stub: Any = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    headers = (("authorization", f"Bearer {TOKEN}"),)
    asked = iter([good, bad, good])
    answers = list(stub.ModelStreamInfer(asked, timeout=60, metadata=headers))
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert settled_metrics_of(server)[name] == before + 6
