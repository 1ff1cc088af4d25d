"""JSON requests with unknown fields are refused, and the message names the field."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2

from bad_bundles import truncated
from http_calls import call, request
from latens.v1 import latens_pb2 as pb
from latens_serving.errors import InvalidInputError
from latens_serving.transports.http.json_requests import read_json
from server_process import Server, running_server

REFUSED: list[tuple[str, Any, str, str]] = [
    ("Sample", {"cuont": 1}, "cuont", "no such field"),
    ("Sample", {"count": 1, "imageDtype": "UINT8"}, "image_dtype", "DATA_TYPE_UINT8"),
    ("Sample", {"count": 1, "imageDtype": 1.5}, "image_dtype", "expected one of"),
    ("Sample", {"count": "many"}, "count", "many"),
    ("Sample", {"count": [1]}, "count", "list"),
    ("Sample", {"count": 1, "temperature": "warm"}, "temperature", "warm"),
    ("Sample", {"model": 5}, "model", "expected a string, got a number"),
    ("Encode", {"images": {"data": "a!b="}}, "images.data", "expected base64"),
    ("Encode", {"images": {"data": "QUJD=A=="}}, "images.data", "expected base64"),
    ("Encode", {"images": {"data": "QUJDR"}}, "images.data", "expected base64"),
    ("Encode", {"images": {"data": "Q====="}}, "images.data", "expected base64"),
    ("Encode", {"images": {"data": 7}}, "images.data", "expected a string, got a number"),
    ("Encode", {"images": {"sahpe": []}}, "images.sahpe", "no such field"),
    ("Encode", {"images": {"shape": ["x"]}}, "images.shape", "x"),
    ("Encode", {"images": {"shape": 5}}, "images.shape", "expected an array"),
    ("Encode", {"images": []}, "images", "expected an object, got an array"),
    ("Traverse", {"axes": [{"coordinate": 1}, {"attribute": 5}]}, "axes[1].attribute", "a string"),
    ("Traverse", {"axes": [{"coordinate": 1, "attribute": "bold"}]}, "axes", "oneof"),
]


@pytest.mark.parametrize(("method", "fields", "field", "text"), REFUSED)
def test_the_field_at_fault_is_named(
    server: Server, method: str, fields: Any, field: str, text: str
) -> None:
    answer = call(server.http_address, method, fields)
    assert (answer.status, answer.code) == (400, "invalid_argument")
    values = {detail["type"]: detail["value"] for detail in answer.json["details"]}
    bad_request = error_details_pb2.BadRequest.FromString(
        base64.b64decode(values["google.rpc.BadRequest"] + "===")
    )
    (violation,) = bad_request.field_violations
    assert violation.field == field
    assert text in violation.description


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"model": "a", "model": "b"}', "'model' comes twice"),
        (b'{"temperature": NaN}', "NaN is no JSON number"),
        (b"[" * 9000, "nested too deeply"),
        (b'{"count": ' + b"9" * 5000 + b"}", "limit"),
        (b"\xff{}", "utf-8"),
        (b"7", "expected a JSON object, got a number"),
    ],
)
def test_other_json_values_are_reported(body: bytes, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        read_json(body, pb.SampleRequest)


def test_every_form_that_protobufs_json_allows_is_read() -> None:
    data = bytes(range(256))
    for text in (
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        base64.b64encode(data).decode().rstrip("="),
    ):
        fields = {"images": {"dtype": "DATA_TYPE_UINT8", "shape": ["256", 1.0], "data": text}}
        tensor = pb.Tensor(dtype=pb.DATA_TYPE_UINT8, shape=[256, 1], data=data)
        read = read_json(json.dumps(fields).encode(), pb.EncodeRequest)
        assert read == pb.EncodeRequest(images=tensor)
    read = read_json(b'{"image_dtype": 2, "seed": "7", "model": null}', pb.SampleRequest)
    assert read == pb.SampleRequest(image_dtype=pb.DATA_TYPE_UINT8, seed=7)
    read = read_json(b'{"starts": {"latents": {"data": "QQ"}}}', pb.InterpolateRequest)
    assert read == pb.InterpolateRequest(starts=pb.Endpoints(latents=pb.Tensor(data=b"A")))


def test_test_embeddings_of_a_model_that_is_not_ready_report_the_reason(
    model_repository: Path, tmp_path: Path
) -> None:
    repository = tmp_path / "models"
    shutil.copytree(model_repository, repository)
    truncated(repository / "point" / "1")
    with running_server(repository) as server:
        refused = request(server.http_address, "/test-embeddings/point/1/means.npy")
        assert refused.status == 503
        assert refused.body.startswith(b"NOT_READY: model 'point' version 1 was refused")
        for unknown in ("nobody/1", "mnist-2d/9"):
            answer = request(server.http_address, f"/test-embeddings/{unknown}/means.npy")
            assert answer.status == 404
