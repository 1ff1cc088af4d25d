"""The HTTP port answers the same RPCs with the same answers, errors and limits as the gRPC port."""

from __future__ import annotations

import base64
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2

from http_calls import SERVICE, Answer, call, request
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from server_process import Server, running_server


def floats(tensor: dict[str, Any]) -> np.ndarray[Any, Any]:
    shape = [int(length) for length in tensor["shape"]]
    return np.frombuffer(base64.b64decode(tensor["data"]), "<f4").reshape(shape)


def details(answer: Answer) -> dict[str, bytes]:
    return {
        detail["type"]: base64.b64decode(detail["value"] + "===")
        for detail in answer.json["details"]
    }


def error_info(answer: Answer) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo.FromString(details(answer)["google.rpc.ErrorInfo"])


def test_curl_samples_with_one_short_line(server: Server) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl on this machine")
    url = f"http://{server.http_address}{SERVICE}/Sample"
    asked = [curl, "-sS", "-d", '{"count": 4}', "-H", "Content-Type: application/json", url]
    done = subprocess.run(asked, capture_output=True, check=True, timeout=180)
    answer = json.loads(done.stdout)
    assert [int(length) for length in answer["images"]["shape"]] == [4, 1, 28, 28]
    assert floats(answer["images"]).max() <= 1


def test_the_same_seed_gives_the_same_rows_on_both_ports(server: Server) -> None:
    by_http = call(server.http_address, "Sample", {"count": 3, "seed": 7}).json
    with grpc.insecure_channel(server.address) as channel:
        by_grpc = latens_pb2_grpc.LatentServiceStub(channel).Sample(
            pb.SampleRequest(count=3, seed=7)
        )
    assert base64.b64decode(by_http["latents"]["data"]) == by_grpc.latents.data
    assert base64.b64decode(by_http["images"]["data"]) == by_grpc.images.data
    assert int(by_http["seed"]) == 7


def test_every_rpc_of_the_contract_is_there(server: Server) -> None:
    for method in pb.DESCRIPTOR.services_by_name["LatentService"].methods:
        answer = call(server.http_address, method.name, {})
        assert answer.status in {200, 400}, method.name
        assert answer.status == 200 or error_info(answer).reason == "INVALID_INPUT"


def test_protobuf_is_answered_with_protobuf(server: Server) -> None:
    answer = call(
        server.http_address,
        "Sample",
        pb.SampleRequest(count=2, seed=1).SerializeToString(),
        headers={"Content-Type": "application/proto"},
    )
    assert answer.headers["content-type"] == "application/proto"
    assert list(pb.SampleResponse.FromString(answer.body).images.shape) == [2, 1, 28, 28]


def grpc_web(server: Server, message: pb.SampleRequest) -> list[tuple[int, bytes]]:
    payload = message.SerializeToString()
    answer = call(
        server.http_address,
        "Sample",
        struct.pack(">BI", 0, len(payload)) + payload,
        headers={"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"},
    )
    assert answer.status == 200
    frames, body = [], answer.body
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        frames.append((flags, body[5 : 5 + length]))
        body = body[5 + length :]
    return frames


def test_grpc_web_frames_carry_the_answer_and_its_status(server: Server) -> None:
    data, trailers = grpc_web(server, pb.SampleRequest(count=2))
    assert data[0] == 0
    assert list(pb.SampleResponse.FromString(data[1]).images.shape) == [2, 1, 28, 28]
    assert trailers[0] == 0x80
    assert b"grpc-status: 0" in trailers[1].lower()


def test_grpc_web_frames_carry_an_error(server: Server) -> None:
    ((flags, trailers),) = grpc_web(server, pb.SampleRequest(count=-1))
    assert flags == 0x80
    assert b"grpc-status: 3" in trailers.lower()
    assert b"count" in trailers


def test_an_error_names_its_reason_and_the_field_at_fault(server: Server) -> None:
    answer = call(server.http_address, "Sample", {"count": -4})
    assert (answer.status, answer.code) == (400, "invalid_argument")
    assert error_info(answer).reason == "INVALID_INPUT"
    bad_request = error_details_pb2.BadRequest.FromString(details(answer)["google.rpc.BadRequest"])
    assert [violation.field for violation in bad_request.field_violations] == ["count"]


@pytest.mark.parametrize(("method", "fields"), [("Sample", {"count": 1}), ("GetModel", {})])
def test_an_unknown_model_is_not_found(server: Server, method: str, fields: dict[str, Any]) -> None:
    answer = call(server.http_address, method, {"model": "nobody"} | fields)
    assert (answer.status, answer.code) == (404, "not_found")
    assert error_info(answer).reason == "MODEL_NOT_FOUND"
    assert "mnist-2d" in answer.json["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"count": "many"}', b'{"count": 1e99}', b"\xff\xfe", b"null"]
)
def test_a_body_that_is_no_request_is_refused_and_counted(server: Server, body: bytes) -> None:
    counter = 'grpc_server_handled_total{grpc_code="INVALID_ARGUMENT",grpc_method="Sample"'
    before = counted(server, counter)
    answer = call(server.http_address, "Sample", body)
    assert (answer.status, answer.code) == (400, "invalid_argument")
    assert error_info(answer).reason == "INVALID_INPUT"
    assert counted(server, counter) == before + 1


def counted(server: Server, start: str) -> float:
    text = request(server.http_address, "/metrics").body.decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if start in line)


def test_other_paths_are_refused(server: Server) -> None:
    address = server.http_address
    unknown = call(address, "Nothing", {})
    assert (unknown.status, unknown.body) == (404, f"no such RPC: {SERVICE}/Nothing\n".encode())
    as_get = request(address, f"{SERVICE}/Sample")
    assert (as_get.status, as_get.headers["allow"]) == (405, "POST")
    assert as_get.body == b"expected POST, not GET\n"
    as_text = {"Content-Type": "text/plain"}  # what a form of another site could send
    as_form = call(address, "Sample", {"count": 1}, headers=as_text)
    assert as_form.status == 415
    assert b"application/json" in as_form.body
    assert b"text/plain" in as_form.body


def test_a_passed_deadline_is_reported(server: Server) -> None:
    late = call(server.http_address, "Sample", {"count": 1}, headers={"Connect-Timeout-Ms": "0"})
    assert (late.status, late.code) == (504, "deadline_exceeded")
    odd = call(server.http_address, "Sample", {"count": 1}, headers={"Connect-Timeout-Ms": "-5"})
    assert (odd.status, odd.code) == (400, "invalid_argument")


def test_requests_and_answers_are_bounded(model_repository: Path) -> None:
    with running_server(model_repository, "--http-max-message-bytes=100000") as small:
        address = small.http_address
        huge = call(address, "Sample", b'{"model": "' + b"x" * 400_000 + b'"}')
        assert huge.status == 400
        assert error_info(huge).reason == "TOO_LARGE"
        answer = call(address, "Sample", {"count": 100})
        assert answer.status == 400
        assert error_info(answer).reason == "TOO_LARGE"
        pixels = call(address, "Sample", {"count": 100, "imageDtype": "DATA_TYPE_UINT8"})
        assert pixels.status == 200
