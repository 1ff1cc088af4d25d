"""The cost of a call in the client, counted: copies of the payload, and Python function calls."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import latens
from latens import operations, wire
from latens.calls import Call, Plan
from latens.chunks import ModelRef
from latens.plans import Plans
from latens.v1 import latens_pb2 as pb

PACKAGE = str(Path(latens.__file__).parent)
ROWS = 1024
SLACK = 40_000
"""Bytes that small objects may take beside the payload."""
MOST_CALLS = 50
"""Python functions entered for one call of `encode`, all but gRPC's own. Measured: 39."""


def peak(action: Callable[[], Any]) -> int:
    """The peak of the bytes that an action allocates."""
    action()
    tracemalloc.start()
    try:
        kept = action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        del kept


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((ROWS, 1, 28, 28), np.float32)


def answer_to(call: Call) -> bytes:
    if call.method.name == "GetModel":
        limits = pb.ModelLimits(max_rows=4096, max_message_bytes=2**26)
        model = pb.Model(version="1", image_shape=[1, 28, 28], latent_shape=[20], limits=limits)
        return pb.GetModelResponse(model=model).SerializeToString()
    call.payload(2**26)
    rows = np.zeros((len(call.arrays["images"]), 20), np.float32)
    return wire.serialize(pb.EncodeResponse(version="1"), {"mean": rows, "log_var": rows})


def drive(plan: Plan[Any], answer: Callable[[Call], bytes] = answer_to) -> Any:
    try:
        while True:
            group = next(plan)
            for call in group.calls:
                group.take(call.answer(answer(call)))
    except StopIteration as end:
        return end.value


def test_a_request_is_written_with_one_copy_of_the_array(images: np.ndarray) -> None:
    assert peak(lambda: wire.serialize(pb.EncodeRequest(), {"images": images})) < (
        images.nbytes + SLACK
    )


def test_a_response_is_read_without_a_copy(images: np.ndarray) -> None:
    payload = wire.serialize(pb.DecodeResponse(version="1"), {"images": images})
    assert peak(lambda: wire.parse(pb.DecodeResponse, payload)) < SLACK


def test_a_split_encode_holds_one_request_at_a_time(images: np.ndarray) -> None:
    plans = Plans(2**26, None)
    answer = 2 * ROWS * 20 * 4

    def encode() -> Any:
        return drive(plans.run(operations.Encode(images, False, None), ModelRef(), None))

    assert peak(encode) < images.nbytes + 3 * answer + SLACK


def test_parts_are_joined_into_one_array_and_no_second(images: np.ndarray) -> None:
    plans = Plans(2**26, 64)

    def answer(call: Call) -> bytes:
        if call.method.name == "GetModel":
            return answer_to(call)
        count = call.request.count  # type: ignore[attr-defined]  # a SampleRequest
        latents = np.zeros((count, 20), np.float32)
        return wire.serialize(
            pb.SampleResponse(version="1"), {"images": images[:count], "latents": latents}
        )

    def sample() -> Any:
        sample = operations.Sample(ROWS, 0, None, None, np.float32)
        return drive(plans.run(sample, ModelRef(), None), answer)

    part = images[:64].nbytes
    assert peak(sample) < images.nbytes + ROWS * 80 + 4 * part + SLACK


def test_the_python_functions_that_a_call_enters_stay_few(images: np.ndarray) -> None:
    plans = Plans(2**26, None)
    entered: list[str] = []

    def encode() -> Any:
        return drive(plans.run(operations.Encode(images, False, None), ModelRef(), None))

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            entered.append(frame.f_code.co_qualname)

    encode()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        encode()
    finally:
        sys.setprofile(before)
    assert len(entered) < MOST_CALLS, entered
