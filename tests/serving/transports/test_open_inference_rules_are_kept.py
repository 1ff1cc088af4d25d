"""Every violation of the Open Inference Protocol is an INVALID_ARGUMENT that names its field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from latens.oip import open_inference_pb2 as oip
from latens.oip import open_inference_pb2_grpc
from server_process import Server, running_server

IMAGES = np.full((2, 1, 28, 28), 0.5, np.float32)
Change = Callable[[oip.ModelInferRequest], Any]


@pytest.fixture(scope="module", params=["grpcio", "http2"])
def server(request: pytest.FixtureRequest, model_repository: Path) -> Iterator[Server]:
    rounds = ("--canary-seconds=0", "--drift-seconds=0")  # nothing runs but what is asked
    with running_server(model_repository, f"--frontend={request.param}", *rounds) as server:
        yield server


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)


def good_request() -> oip.ModelInferRequest:
    return oip.ModelInferRequest(
        model_name="mnist-2d-encoder",
        id="call",
        inputs=[
            oip.ModelInferRequest.InferInputTensor(
                name="images", datatype="FP32", shape=IMAGES.shape
            )
        ],
        raw_input_contents=[IMAGES.tobytes()],
    )


def set_shape(*shape: int) -> Change:
    def change(request: oip.ModelInferRequest) -> None:
        request.inputs[0].shape[:] = shape

    return change


def set_raw(content: bytes) -> Change:
    def change(request: oip.ModelInferRequest) -> None:
        request.raw_input_contents[0] = content

    return change


def set_typed(datatype: str, **contents: list[Any]) -> Change:
    def change(request: oip.ModelInferRequest) -> None:
        del request.raw_input_contents[:]
        request.inputs[0].datatype = datatype
        request.inputs[0].contents.MergeFrom(oip.InferTensorContents(**contents))

    return change


def also_typed(request: oip.ModelInferRequest) -> None:
    request.inputs[0].contents.fp32_contents.append(0.5)


def want(*names: str) -> Change:
    def change(request: oip.ModelInferRequest) -> None:
        for name in names:
            request.outputs.add(name=name)

    return change


BREACHES: dict[str, tuple[Change, str]] = {
    "no input": (lambda r: r.inputs.pop(), "inputs"),
    "an input twice": (lambda r: r.inputs.append(r.inputs[0]), "inputs"),
    "an unknown input": (lambda r: setattr(r.inputs[0], "name", "pixels"), "inputs[0].name"),
    "an unknown output": (want("mean", "sigma"), "outputs[1].name"),
    "an output twice": (want("mean", "mean"), "outputs[1].name"),
    "FP64 bytes": (lambda r: setattr(r.inputs[0], "datatype", "FP64"), "inputs[0].datatype"),
    "no type": (lambda r: setattr(r.inputs[0], "datatype", ""), "inputs[0].datatype"),
    "a lower-case type": (lambda r: setattr(r.inputs[0], "datatype", "fp32"), "inputs[0].datatype"),
    "a negative dimension": (set_shape(-2, 1, 28, 28), "inputs[0].shape"),
    "two negative dimensions": (set_shape(-2, -1, 28, 28), "inputs[0].shape"),
    "an overflowing shape": (set_shape(2**62, 4, 28, 28), "raw_input_contents[0]"),
    "another rank": (set_shape(2, 784), "inputs[0].shape"),
    "no rows": (lambda r: (set_shape(0, 1, 28, 28)(r), set_raw(b"")(r)), "inputs[0].shape"),
    "too few bytes": (set_raw(IMAGES.tobytes()[:-1]), "raw_input_contents[0]"),
    "too many bytes": (set_raw(IMAGES.tobytes() + b"\0" * 4), "raw_input_contents[0]"),
    "no bytes": (set_raw(b""), "raw_input_contents[0]"),
    "two raw contents": (lambda r: r.raw_input_contents.append(b""), "raw_input_contents"),
    "raw and typed contents": (also_typed, "raw_input_contents"),
    "no contents": (lambda r: r.raw_input_contents.pop(), "inputs[0].contents"),
    "contents of another type": (
        set_typed("FP32", fp64_contents=[0.5] * IMAGES.size),
        "inputs[0].contents.fp64_contents",
    ),
    "contents above 255": (
        set_typed("UINT8", uint_contents=[256] * IMAGES.size),
        "inputs[0].contents.uint_contents",
    ),
    "too few contents": (set_typed("FP32", fp32_contents=[0.5]), "inputs[0].contents"),
    "NaN": (set_raw(np.full_like(IMAGES, np.nan).tobytes()), "inputs[0].data"),
    "infinity": (set_raw(np.full_like(IMAGES, np.inf).tobytes()), "inputs[0].data"),
    "pixels above 1": (set_raw((IMAGES + 1).tobytes()), "inputs[0].data"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_an_invalid_request_names_its_field_and_the_next_call_is_answered(
    stub: Any, breach: str
) -> None:
    change, field = BREACHES[breach]
    request = good_request()
    change(request)

    with pytest.raises(grpc.RpcError) as failure:
        stub.ModelInfer(request, timeout=10)

    error: Any = failure.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _fields_at_fault(error) == [field]
    assert stub.ModelInfer(good_request(), timeout=10).id == "call"


def _fields_at_fault(error: Any) -> list[str]:
    trailers = {entry.key: entry.value for entry in error.trailing_metadata()}
    rich = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in rich.details)
    return [violation.field for violation in bad.field_violations]


def test_shared_memory_is_refused_before_anything_is_read(stub: Any) -> None:
    request = good_request()
    request.inputs[0].parameters["shared_memory_region"].string_param = "/dev/shm/other"

    with pytest.raises(grpc.RpcError) as failure:
        stub.ModelInfer(request, timeout=10)

    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]


def test_typed_and_raw_contents_and_uint8_give_the_same_answer(stub: Any) -> None:
    pixels = np.arange(2 * 784, dtype=np.uint32).reshape(2, 1, 28, 28) % 256
    raw, typed, quantized = good_request(), good_request(), good_request()
    floats = (pixels / np.float32(255)).astype(np.float32)
    set_raw(floats.tobytes())(raw)
    set_typed("FP32", fp32_contents=floats.ravel().tolist())(typed)
    set_typed("UINT8", uint_contents=pixels.ravel().tolist())(quantized)

    answers = [stub.ModelInfer(request, timeout=10) for request in (raw, typed, quantized)]

    means = [np.frombuffer(answer.raw_output_contents[0], "<f4") for answer in answers]
    assert np.array_equal(means[0], means[1])
    assert np.allclose(means[0], means[2], atol=1e-5)


def test_only_the_requested_outputs_are_returned_in_their_order(stub: Any) -> None:
    request = good_request()
    want("log_var", "mean")(request)

    answer = stub.ModelInfer(request, timeout=10)

    assert [output.name for output in answer.outputs] == ["log_var", "mean"]
    plain = stub.ModelInfer(good_request(), timeout=10)
    assert list(answer.raw_output_contents) == list(plain.raw_output_contents)[::-1]


def test_a_deterministic_model_has_only_a_mean(stub: Any) -> None:
    answer = stub.ModelMetadata(oip.ModelMetadataRequest(name="point-encoder"), timeout=10)

    assert [output.name for output in answer.outputs] == ["mean"]


def test_statistics_count_what_ran(stub: Any) -> None:
    def counted() -> oip.ModelStatistics:
        request = oip.ModelStatisticsRequest(name="mnist-2d-encoder", version="1")
        (statistics,) = stub.ModelStatistics(request, timeout=10).model_stats
        parts = statistics.inference_stats
        counts = {
            part.count
            for part in (
                parts.queue,
                parts.compute_input,
                parts.compute_infer,
                parts.compute_output,
            )
        }
        assert counts == {parts.success.count}  # perf_analyzer aborts if they differ
        return statistics

    before = counted()
    for _ in range(3):
        stub.ModelInfer(good_request(), timeout=10)
    after = counted()

    assert after.inference_count - before.inference_count == 6
    assert after.execution_count - before.execution_count == 3
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns


def test_the_server_survives_a_cancelled_stream(server: Server, stub: Any) -> None:
    with grpc.insecure_channel(server.address) as channel:
        other = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = other.ModelStreamInfer(good_request() for _ in range(200))
        first = next(answers)
        answers.cancel()

    assert first.infer_response.id == "call"
    assert stub.ServerReady(oip.ServerReadyRequest(), timeout=10).ready
