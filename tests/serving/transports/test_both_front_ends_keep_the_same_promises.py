"""Whatever speaks gRPC, a call means the same: answers, refusals, limits, health."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from numpy.typing import NDArray

from front_ends import (
    FRONT_ENDS,
    OPTIONS,
    SECONDS,
    both_front_ends,
    images,
    refusal,
    settled_metrics_of,
    stub_of,
)
from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from server_process import Server


@pytest.fixture(scope="module")
def servers(model_repository: Path) -> Iterator[dict[str, Server]]:
    with both_front_ends(model_repository) as running:
        yield running


@pytest.fixture(params=FRONT_ENDS)
def channel(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(servers[request.param].address, OPTIONS) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> latens_pb2_grpc.LatentServiceStub:
    return latens_pb2_grpc.LatentServiceStub(channel)


def reason_of(error: grpc.RpcError) -> str:
    status = status_of(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "latens"
    reason: str = info.reason
    return reason


def status_of(error: Any) -> Any:
    """The rich status in an error's trailers."""
    status = rpc_status.from_call(error)
    assert status is not None
    return status


REQUESTS = {
    "Encode": pb.EncodeRequest(images=to_message(images(3)), draw=pb.PosteriorDraw(seed=5)),
    "Decode": pb.DecodeRequest(latents=to_message(np.ones((4, 2), np.float32))),
    "Sample": pb.SampleRequest(count=5, seed=9, image_dtype=pb.DATA_TYPE_UINT8),
    "Interpolate": pb.InterpolateRequest(
        starts=pb.Endpoints(latents=to_message(np.zeros((1, 2), np.float32))),
        ends=pb.Endpoints(images=to_message(images(1))),
        steps=4,
    ),
    "GetModel": pb.GetModelRequest(model="point"),
    "ListModels": pb.ListModelsRequest(),
}


@pytest.mark.parametrize("method", REQUESTS)
def test_the_same_request_has_bit_equal_answers(servers: dict[str, Server], method: str) -> None:
    answers = []
    for name in FRONT_ENDS:
        channel, stub = stub_of(servers[name])
        with channel:
            answers.append(getattr(stub, method)(REQUESTS[method], timeout=SECONDS))
    assert answers[0] == answers[1]
    assert answers[0].ByteSize() > 0


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("rows", [1, 2, 63, 1024])
def test_every_size_and_type_is_answered_alike(
    servers: dict[str, Server], dtype: type, rows: int
) -> None:
    batch = images(rows) if dtype is np.float32 else (images(rows) * 255).astype(np.uint8)
    means = []
    for name in FRONT_ENDS:
        channel, stub = stub_of(servers[name])
        with channel:
            for _ in range(2):  # the second is of a form that was seen before
                answer = stub.Encode(pb.EncodeRequest(images=to_message(batch)), timeout=SECONDS)
                means.append(to_array(answer.mean))
                decode = pb.DecodeRequest(latents=answer.mean, image_dtype=pb.DATA_TYPE_UINT8)
                decoded = to_array(stub.Decode(decode, timeout=SECONDS).images)
                assert decoded.shape == (rows, 1, 28, 28)
    for mean in means[1:]:
        np.testing.assert_allclose(mean, means[0], atol=1e-5)  # a batch may have had other sizes


def test_bytes_in_and_out_are_the_floats_rounded(
    stub: latens_pb2_grpc.LatentServiceStub,
) -> None:
    grey = (images(9) * 255).astype(np.uint8)
    of_bytes, of_floats = (
        stub.Encode(pb.EncodeRequest(images=to_message(given)), timeout=SECONDS)
        for given in (grey, grey / np.float32(255))
    )
    np.testing.assert_allclose(to_array(of_bytes.mean), to_array(of_floats.mean), atol=1e-4)
    np.testing.assert_allclose(to_array(of_bytes.log_var), to_array(of_floats.log_var), atol=1e-4)
    ends = pb.Endpoints(images=to_message(grey[:2]))
    for method, request in (
        ("Decode", pb.DecodeRequest(latents=of_floats.mean)),
        ("Sample", pb.SampleRequest(count=70, seed=2)),
        ("Interpolate", pb.InterpolateRequest(starts=ends, ends=ends, steps=3)),
        ("Traverse", pb.TraverseRequest(bases=ends, steps=3)),
        ("Reconstruct", pb.ReconstructRequest(images=to_message(grey))),
    ):
        call: Any = getattr(stub, method)
        floats = to_array(call(request, timeout=SECONDS).images)
        request.image_dtype = pb.DATA_TYPE_UINT8
        rounded = to_array(call(request, timeout=SECONDS).images)
        assert rounded.dtype == np.uint8
        assert np.abs(rounded - np.rint(floats * 255)).max() <= 1, method


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_calls_of_bytes_run_in_graphs_of_bytes(servers: dict[str, Server], name: str) -> None:
    def rows_of(graph: str) -> float:
        found = settled_metrics_of(servers[name])
        return found.get(f'latens_batch_rows_sum{{graph="{graph}",model="mnist-2d"}}', 0.0)

    channel, stub = stub_of(servers[name])
    with channel:
        for request, graph in (
            (pb.EncodeRequest(images=to_message(np.zeros((3, 1, 28, 28), np.uint8))), "encoder"),
            (REQUESTS["Sample"], "decoder"),
        ):
            before = [rows_of(graph), rows_of(f"{graph}_uint8")]
            call = stub.Encode if graph == "encoder" else stub.Sample
            call(request, timeout=SECONDS)
            ran = 3 if graph == "encoder" else 5
            assert [rows_of(graph), rows_of(f"{graph}_uint8")] == [before[0], before[1] + ran]


BAD = {
    "no images": (pb.EncodeRequest(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
    "no such model": (
        pb.EncodeRequest(model="nope", images=to_message(images(1))),
        grpc.StatusCode.NOT_FOUND,
        "MODEL_NOT_FOUND",
    ),
    "no such version": (
        pb.EncodeRequest(version="77", images=to_message(images(1))),
        grpc.StatusCode.NOT_FOUND,
        "MODEL_NOT_FOUND",
    ),
    "out of range": (
        pb.EncodeRequest(images=to_message(images(1) + 1)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    ),
    "not a number": (
        pb.EncodeRequest(images=to_message(images(1) * np.float32("nan"))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    ),
    "of another shape": (
        pb.EncodeRequest(images=to_message(np.zeros((1, 3, 28, 28), np.float32))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    ),
    "a shape that lies": (
        pb.EncodeRequest(
            images=pb.Tensor(dtype=pb.DATA_TYPE_FLOAT32, shape=[1, 1, 28, 28], data=b"short")
        ),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_INPUT",
    ),
    "too many rows": (
        pb.EncodeRequest(images=to_message(np.zeros((20000, 1, 28, 28), np.uint8))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "TOO_LARGE",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused_with_the_same_words(
    servers: dict[str, Server], case: str
) -> None:
    request, code, reason = BAD[case]
    said = []
    for name in FRONT_ENDS:
        channel, stub = stub_of(servers[name])
        with channel:
            for _ in range(2):
                error = refusal(stub.Encode, request)
                assert error.code() is code
                assert reason_of(error) == reason
                said.append((error.details(), status_of(error)))
    assert said == said[:1] * 4


def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel) -> None:
    for method in ("Encode", "Sample"):
        call: Any = channel.unary_unary(f"/latens.v1.LatentService/{method}")
        assert refusal(call, b"\xff\xff\xff").code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_method_that_is_not_known_is_unimplemented(channel: grpc.Channel) -> None:
    error = refusal(channel.unary_unary("/latens.v1.LatentService/Nothing"), b"")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_beyond_the_limit_is_refused_unread(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/latens.v1.LatentService/Encode")
    assert refusal(call, bytes((64 << 20) + 1)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_request_is_understood(stub: latens_pb2_grpc.LatentServiceStub) -> None:
    request = pb.EncodeRequest(images=to_message(images(2)))
    plain = stub.Encode(request, timeout=SECONDS)
    packed = stub.Encode(request, timeout=SECONDS, compression=grpc.Compression.Gzip)
    assert packed == plain


def test_a_passed_deadline_is_reported(stub: latens_pb2_grpc.LatentServiceStub) -> None:
    error = refusal(stub.Sample, pb.SampleRequest(count=8192), timeout=1e-3)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_health_is_checked_and_watched(channel: grpc.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    for service in ("", "latens.v1.LatentService", "models/mnist-2d"):
        request = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(request, timeout=SECONDS).status == serving
    error = refusal(stub.Check, health_pb2.HealthCheckRequest(service="nobody"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    assert next(watch).status == serving
    watch.cancel()


@pytest.mark.parametrize("name", FRONT_ENDS)
async def test_each_of_many_callers_gets_its_own_rows(
    servers: dict[str, Server], name: str
) -> None:
    batches = [images(1 + number % 5, number) for number in range(120)]
    async with grpc.aio.insecure_channel(servers[name].address) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)

        async def mean_of(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            answer = await stub.Encode(pb.EncodeRequest(images=to_message(batch)), timeout=SECONDS)
            return to_array(answer.mean)

        alone = [await mean_of(batch) for batch in batches]
        together = await asyncio.gather(*map(mean_of, batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
