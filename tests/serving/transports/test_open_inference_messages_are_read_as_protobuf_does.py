"""The ModelInfer route reads and writes what protobuf reads and writes, whatever the bytes are."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from latens.oip import open_inference_pb2 as oip
from latens_serving.errors import LatensError
from latens_serving.models.statistics import GraphStatistics
from latens_serving.transports.oip import requests
from latens_serving.transports.oip.graphs import Graph
from latens_serving.transports.oip.raw_messages import InferReader, InferWriter
from latens_serving.transports.oip.requests import ReadRequest
from latens_serving.transports.oip.responses import Inferred
from toy_bundles import spatial_spec

SPEC = spatial_spec()
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, 28, -1, 1 << 62]), max_size=4)
REQUESTS = st.builds(
    lambda name, datatype, shape, raw, request_id, wanted, typed: oip.ModelInferRequest(
        model_name=name,
        id=request_id,
        inputs=[
            oip.ModelInferRequest.InferInputTensor(
                name="latents",
                datatype=datatype,
                shape=shape,
                contents=oip.InferTensorContents(fp32_contents=[1.0]) if typed else None,
            )
        ],
        outputs=[oip.ModelInferRequest.InferRequestedOutputTensor(name=each) for each in wanted],
        raw_input_contents=raw,
    ),
    name=st.sampled_from(["toy-decoder", "m"]),
    datatype=st.sampled_from(["FP32", "UINT8", "INT64"]),
    shape=SHAPES,
    raw=st.lists(st.binary(max_size=24), max_size=2),
    request_id=st.text(max_size=3),
    wanted=st.lists(st.sampled_from(["images", "mean"]), max_size=2),
    typed=st.booleans(),
)


def meaning(request: ReadRequest, raw: bytes | memoryview | None) -> object:
    """The tensor of a request, or the refusal."""
    try:
        understood = request.understand(SPEC, Graph.DECODER)
        tensor = requests.tensor_of(request.message, understood, raw)
    except LatensError as error:
        return str(error)
    return understood.outputs, tensor.dtype, tensor.shape, bytes(tensor.data)


def read_by_protobuf(payload: bytes) -> object:
    try:
        message = oip.ModelInferRequest.FromString(payload)
    except DecodeError:
        return "not a message"
    return meaning(ReadRequest(message), None)


def read_by_hand(reader: InferReader, payload: bytes) -> object:
    try:
        request, raw = reader.read(payload)
    except DecodeError:
        return "not a message"
    return meaning(request, raw)


@settings(max_examples=150)
@given(
    request=REQUESTS,
    place=st.integers(0, 200),
    byte=st.integers(0, 255),
    is_changed=st.booleans(),
)
def test_requests_mean_the_same(
    request: oip.ModelInferRequest, place: int, byte: int, is_changed: bool
) -> None:
    payload = bytearray(request.SerializeToString())
    reader = InferReader()
    reader.read(bytes(payload))  # so that the changed one meets a remembered head
    if is_changed and payload:
        payload[place % len(payload)] = byte
    expected = read_by_protobuf(bytes(payload))
    for _ in range(2):
        assert read_by_hand(reader, bytes(payload)) == expected


def test_elements_are_not_copied() -> None:
    elements = np.arange(4, dtype="<f4")
    tensor = oip.ModelInferRequest.InferInputTensor(name="latents", datatype="FP32", shape=[2, 2])
    request = oip.ModelInferRequest(
        model_name="toy-decoder", inputs=[tensor], raw_input_contents=[elements.tobytes()]
    )
    payload = request.SerializeToString()
    reader = InferReader()
    for _ in range(2):
        read, raw = reader.read(payload)
        assert isinstance(raw, memoryview)
        assert raw.obj is payload
        assert read.message.model_name == "toy-decoder"
        assert not read.message.raw_input_contents


@pytest.mark.parametrize("request_id", ["", "call-7", "é" * 100])
@pytest.mark.parametrize("rows", [1, 3, 300])
def test_answers_are_the_message(request_id: str, rows: int) -> None:
    outputs = {
        "mean": np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32),
        "log_var": np.zeros((rows, 2), np.float32),
    }
    writer = InferWriter()
    for _ in range(2):
        answer = Inferred("toy-encoder", "3", request_id, outputs, GraphStatistics())
        parts, size = writer.write(answer)
        written = b"".join(parts)
        assert len(written) == size
        assert oip.ModelInferResponse.FromString(written) == answer.message()
