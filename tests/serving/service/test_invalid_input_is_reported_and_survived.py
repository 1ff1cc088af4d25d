"""For any invalid request the answer names the field, and the server survives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from server_process import Server

UNKNOWN_TYPE = cast("pb.DataType", 7)
FLOAT32, UINT8 = pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_UINT8
IMAGES = to_message(np.zeros((2, 1, 28, 28), np.float32))
LATENTS = to_message(np.zeros((2, 2), np.float32))
ENDS = pb.Endpoints(latents=LATENTS)
PIXELS = 28 * 28


def images(**changes: Any) -> pb.EncodeRequest:
    tensor = pb.Tensor()
    tensor.CopyFrom(IMAGES)
    for name, value in changes.items():
        tensor.ClearField(name)
        tensor.MergeFrom(pb.Tensor(**{name: value}))
    return pb.EncodeRequest(images=tensor)


def pixels(value: float) -> pb.EncodeRequest:
    array = np.full((1, 1, 28, 28), 0.5, np.float32)
    array[0, 0, 3, 4] = value
    return pb.EncodeRequest(images=to_message(array))


def latents(array: np.ndarray) -> pb.DecodeRequest:
    return pb.DecodeRequest(latents=to_message(array.astype(np.float32)))


def walk(**changes: Any) -> pb.InterpolateRequest:
    fields: dict[str, Any] = {"starts": ENDS, "ends": ENDS, "steps": 3, **changes}
    return pb.InterpolateRequest(**fields)


BAD = {
    "no images": (pb.EncodeRequest(), "images"),
    "no rank": (images(shape=[], data=bytes(4)), "images.shape"),
    "wrong rank": (images(shape=[2, 28, 28]), "images.shape"),
    "rank of 9": (images(shape=[1] * 9, data=bytes(4)), "images.shape"),
    "wrong height": (images(shape=[2, 1, 29, 28], data=bytes(2 * 29 * 28 * 4)), "images.shape"),
    "channels last": (images(shape=[2, 28, 28, 1]), "images.shape"),
    "unset dtype": (images(dtype=0), "images.dtype"),
    "unknown dtype": (images(dtype=99), "images.dtype"),
    "latents as bytes": (
        pb.DecodeRequest(latents=pb.Tensor(dtype=UINT8, shape=[1, 2], data=b"ab")),
        "latents.dtype",
    ),
    "bytes too short": (images(data=IMAGES.data[:-1]), "images.data"),
    "bytes too long": (images(data=IMAGES.data + b"\0"), "images.data"),
    "no bytes": (images(data=b""), "images.data"),
    "negative dimension": (images(shape=[-2, 1, 28, 28]), "images.shape"),
    "two negative dimensions": (images(shape=[-2, -1, 28, 28]), "images.shape"),
    "dimension of 2^62": (images(shape=[2**62, 1, 28, 28]), "images.data"),
    "dimensions whose product overflows": (images(shape=[2**62, 2**62, 28, 28]), "images.data"),
    "zero rows": (images(shape=[0, 1, 28, 28], data=b""), "images.shape"),
    "a zero dimension": (images(shape=[2, 0, 28, 28], data=b""), "images.shape"),
    "NaN pixel": (pixels(np.nan), "images.data"),
    "infinite pixel": (pixels(np.inf), "images.data"),
    "minus infinite pixel": (pixels(-np.inf), "images.data"),
    "pixel above 1": (pixels(1.001), "images.data"),
    "pixel below 0": (pixels(-0.001), "images.data"),
    "no latents": (pb.DecodeRequest(), "latents"),
    "wrong latent size": (latents(np.zeros((1, 3))), "latents.shape"),
    "NaN latent": (latents(np.array([[0, np.nan]])), "latents.data"),
    "infinite latent": (latents(np.array([[0, np.inf]])), "latents.data"),
    "latent that overflows": (latents(np.array([[3e38, -3e38]])), "latents"),
    "unknown image dtype": (
        pb.DecodeRequest(latents=LATENTS, image_dtype=UNKNOWN_TYPE),
        "image_dtype",
    ),
    "count of 0": (pb.SampleRequest(count=0), "count"),
    "count below 0": (pb.SampleRequest(count=-1), "count"),
    "count of 2^62": (pb.SampleRequest(count=2**62), "count"),
    "temperature below 0": (pb.SampleRequest(count=1, temperature=-1), "temperature"),
    "temperature of NaN": (pb.SampleRequest(count=1, temperature=float("nan")), "temperature"),
    "temperature above 100": (pb.SampleRequest(count=1, temperature=101), "temperature"),
    "steps of 0": (walk(steps=0), "steps"),
    "steps of 1": (walk(steps=1), "steps"),
    "steps below 0": (walk(steps=-3), "steps"),
    "steps of 2^62": (walk(steps=2**62), "steps"),
    "unknown mode": (walk(mode=9), "mode"),
    "no starts": (pb.InterpolateRequest(ends=ENDS, steps=2), "starts"),
    "empty ends": (walk(ends=pb.Endpoints()), "ends"),
    "fewer ends than starts": (
        walk(ends=pb.Endpoints(latents=to_message(np.zeros((1, 2), np.float32)))),
        "ends",
    ),
    "bad image at an end": (walk(ends=pb.Endpoints(images=pixels(2).images)), "ends.images.data"),
    "page size below 0": (pb.ListModelsRequest(page_size=-1), "page_size"),
    "garbage page token": (pb.ListModelsRequest(page_token="what?"), "page_token"),
}  # fmt: skip
TOO_LARGE = {"count of 2^62", "steps of 2^62"}


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.address, unlimited) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> latens_pb2_grpc.LatentServiceStub:
    return latens_pb2_grpc.LatentServiceStub(channel)


def call(stub: latens_pb2_grpc.LatentServiceStub, request: object) -> Any:
    method = type(request).__name__.removesuffix("Request")
    return getattr(stub, method)(request, timeout=20)


def refusal(stub: latens_pb2_grpc.LatentServiceStub, request: object) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call(stub, request)
    return caught.value


def details(error: Any, kind: Any) -> list[Any]:
    status = rpc_status.from_call(error)
    assert status is not None
    found = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    unpacked = [kind() for _ in found]
    for detail, message in zip(found, unpacked, strict=True):
        detail.Unpack(message)
    return unpacked


@pytest.mark.parametrize("name", BAD)
def test_the_field_at_fault_is_named(stub: latens_pb2_grpc.LatentServiceStub, name: str) -> None:
    request, field = BAD[name]
    error = refusal(stub, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (bad_request,) = details(error, error_details_pb2.BadRequest)
    assert [violation.field for violation in bad_request.field_violations] == [field]
    assert "expected" in error.details() or name in {"latent that overflows", *TOO_LARGE}
    (info,) = details(error, error_details_pb2.ErrorInfo)
    assert info.domain == "latens"
    assert info.reason == ("TOO_LARGE" if name in TOO_LARGE else "INVALID_INPUT")
    assert len(call(stub, pb.SampleRequest(count=1, seed=1)).images.data) == PIXELS * 4


def test_an_unknown_model_is_not_found_and_what_exists_is_named(
    stub: latens_pb2_grpc.LatentServiceStub,
) -> None:
    for name in ("nothing", "../../etc/passwd", "x" * 5000, "\0", "mnist-2d/1"):
        error = refusal(stub, pb.SampleRequest(model=name, count=1))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "mnist-2d" in error.details()
        assert len(error.details()) < 600
        (info,) = details(error, error_details_pb2.ErrorInfo)
        assert info.reason == "MODEL_NOT_FOUND"


def test_an_unknown_version_is_not_found(stub: latens_pb2_grpc.LatentServiceStub) -> None:
    for version in ("2", "01", "-1", "latest", "1.0"):
        error = refusal(stub, pb.SampleRequest(model="mnist-2d", version=version, count=1))
        assert error.code() is grpc.StatusCode.NOT_FOUND


def test_more_rows_than_the_limit_are_too_large(
    stub: latens_pb2_grpc.LatentServiceStub,
) -> None:
    limit = call(stub, pb.GetModelRequest(model="mnist-2d")).model.limits.max_rows
    tensor = pb.Tensor(dtype=FLOAT32, shape=[limit + 1, 2], data=bytes((limit + 1) * 8))
    error = refusal(stub, pb.DecodeRequest(latents=tensor))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (info,) = details(error, error_details_pb2.ErrorInfo)
    assert info.reason == "TOO_LARGE"
    assert str(limit) in error.details()


@pytest.mark.parametrize("body", [b"\xff" * 40, b"\x1a\xff\xff\xff\xff\x0f", b"garbage", b"\0"])
def test_garbage_bytes_never_reach_a_handler(channel: grpc.Channel, body: bytes) -> None:
    send: Any = channel.unary_unary("/latens.v1.LatentService/Encode")
    with pytest.raises(grpc.RpcError) as caught:
        send(body, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "/" not in (caught.value.details() or "")


def test_a_message_of_105_megabytes_is_refused_and_the_server_lives(
    channel: grpc.Channel, stub: latens_pb2_grpc.LatentServiceStub
) -> None:
    send: Any = channel.unary_unary("/latens.v1.LatentService/Encode")
    with pytest.raises(grpc.RpcError) as caught:
        send(bytes(105 << 20), timeout=60)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert call(stub, pb.SampleRequest(count=1)).images.data


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    for path in ("/latens.v1.LatentService/Steal", "/nothing/At", "/"):
        unary: Any = channel.unary_unary(path)
        with pytest.raises(grpc.RpcError) as caught:
            unary(b"", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_of_an_image_may_be_uint8_or_float32(stub: latens_pb2_grpc.LatentServiceStub) -> None:
    grey = np.arange(PIXELS, dtype=np.uint8).reshape(1, 1, 28, 28)
    of_bytes = call(stub, pb.EncodeRequest(images=to_message(grey)))
    of_floats = call(stub, pb.EncodeRequest(images=to_message((grey / 255).astype(np.float32))))
    np.testing.assert_allclose(to_array(of_bytes.mean), to_array(of_floats.mean), atol=1e-5)
