"""The codec of `latens.wire` writes and reads the same messages as protobuf."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latens import tensors, wire
from latens.message_reader import MessageReader
from latens.v1 import latens_pb2 as pb

arrays: st.SearchStrategy[np.ndarray] = st.one_of(
    *(
        hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0))
        for dtype in ("<f4", "u1", "<f2")
    )
)


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
    )


@given(images=arrays, model=st.text(max_size=40), seed=st.integers(0, 2**64 - 1))
def test_what_is_serialized_by_hand_is_the_message_that_protobuf_reads(
    images: np.ndarray, model: str, seed: int
) -> None:
    message = pb.EncodeRequest(model=model, draw=pb.PosteriorDraw(seed=seed, first_row=3))
    payload = wire.serialize(message, {"images": images})

    expected = pb.EncodeRequest()
    expected.CopyFrom(message)
    expected.images.CopyFrom(tensors.to_message(images))
    assert pb.EncodeRequest.FromString(payload) == expected


@given(starts=arrays, ends=arrays)
def test_a_tensor_inside_another_message_is_written_in_its_place(
    starts: np.ndarray, ends: np.ndarray
) -> None:
    message = pb.InterpolateRequest(steps=5, mode=pb.INTERPOLATION_MODE_SPHERICAL)
    payload = wire.serialize(message, {"starts.latents": starts, "ends.images": ends})

    found = pb.InterpolateRequest.FromString(payload)
    assert (found.steps, found.mode) == (5, pb.INTERPOLATION_MODE_SPHERICAL)
    assert same(tensors.to_array(found.starts.latents), starts)
    assert same(tensors.to_array(found.ends.images), ends)


@given(images=arrays, latents=arrays, seed=st.integers(0, 2**64 - 1), version=st.text(max_size=9))
def test_what_protobuf_serializes_is_parsed_by_hand_to_the_same(
    images: np.ndarray, latents: np.ndarray, seed: int, version: str
) -> None:
    rest = pb.SampleResponse(seed=seed, version=version)
    whole = pb.SampleResponse(
        images=tensors.to_message(images),
        latents=tensors.to_message(latents),
        seed=seed,
        version=version,
    )
    parsed = wire.parse(pb.SampleResponse, whole.SerializeToString())
    assert parsed.message == rest
    assert parsed.arrays.keys() == {"images", "latents"}
    assert same(parsed.arrays["images"], images)
    assert same(parsed.arrays["latents"], latents)


def parse(payload: bytes) -> wire.Parsed:
    return wire.parse(pb.DecodeResponse, payload)


def check_against_protobuf(payload: bytes, read: Callable[[bytes], wire.Parsed] = parse) -> None:
    """Both readers give the same message or both refuse the bytes."""
    try:
        expected = pb.DecodeResponse.FromString(payload)
    except DecodeError:
        with pytest.raises(DecodeError):
            read(payload)
        return
    if not expected.HasField("images"):
        assert read(payload) == (expected, {})
        return
    try:
        array = tensors.to_array(expected.images)
    except tensors.TensorError:
        with pytest.raises(tensors.TensorError, match="expected"):
            read(payload)
        return
    parsed = read(payload)
    expected.ClearField("images")
    assert parsed.message == expected
    assert same(parsed.arrays["images"], array)


@given(payload=st.binary(max_size=60))
def test_any_bytes_are_parsed_as_protobuf_does_or_refused_as_protobuf_does(payload: bytes) -> None:
    check_against_protobuf(payload)


@given(data=st.data())
def test_a_broken_message_is_never_read_differently_from_protobuf(data: st.DataObject) -> None:
    """Valid messages with one byte changed or a part removed."""
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    whole = pb.DecodeResponse(images=tensors.to_message(image), version="7").SerializeToString()
    position = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[position] = data.draw(st.integers(0, 255))
    payload = bytes(changed)[: data.draw(st.integers(position, len(whole)))]
    check_against_protobuf(payload)

    reader = MessageReader(pb.DecodeResponse)
    reader.read(whole)
    check_against_protobuf(payload, reader.read)


def changed(array: np.ndarray, by: int) -> np.ndarray:
    """An array of the same shape and type with other elements."""
    altered = bytes(byte ^ by for byte in array.tobytes())
    return np.frombuffer(altered, array.dtype).reshape(array.shape)


@given(images=arrays, latents=arrays, seeds=st.tuples(st.integers(0, 300), st.integers(0, 300)))
def test_a_repeated_answer_is_read_like_the_first(
    images: np.ndarray, latents: np.ndarray, seeds: tuple[int, int]
) -> None:
    reader = MessageReader(pb.SampleResponse)
    for number, seed in enumerate(seeds):
        mine = [changed(array, number) for array in (images, latents)]
        fields = {"images": tensors.to_message(mine[0]), "latents": tensors.to_message(mine[1])}
        payload = pb.SampleResponse(
            images=fields["images"], latents=fields["latents"], seed=seed, version="4"
        ).SerializeToString()
        parsed = reader.read(payload)
        assert parsed.message == pb.SampleResponse(seed=seed, version="4")
        assert parsed.arrays.keys() == fields.keys()
        for name, array in zip(fields, mine, strict=True):
            assert same(parsed.arrays[name], array)
            assert not parsed.arrays[name].flags.writeable


def test_the_cache_of_answers_is_bounded() -> None:
    reader = MessageReader(pb.DecodeResponse)
    for length in range(1, 300):
        message = pb.DecodeResponse(images=tensors.to_message(np.ones((1, length), np.uint8)))
        reader.read(message.SerializeToString())
    image = tensors.to_message(np.ones((1, 1), np.uint8))
    long = pb.DecodeResponse(images=image, version="9" * 600).SerializeToString()
    assert reader.read(long).message.version == "9" * 600
    assert len(reader._layouts) <= 64
    assert len(long) not in reader._layouts


def test_a_number_that_runs_past_its_field_is_read_as_protobuf_reads_it() -> None:
    """The last number of the shape continues beyond its field, into the elements' tag."""
    tensor = bytes([0x08, pb.DATA_TYPE_UINT8, 0x12, 0x01, 0x9A, 0x00, 0x1A, 0x1A, *range(26)])
    assert len(tensor) == 34
    payload = bytes([0x0A, len(tensor)]) + tensor
    check_against_protobuf(payload)
    with pytest.raises(DecodeError):
        parse(payload)


def test_fields_in_another_order_or_sent_twice_are_merged_as_protobuf_merges_them() -> None:
    first = pb.DecodeResponse(images=pb.Tensor(dtype=pb.DATA_TYPE_UINT8, shape=[2]))
    second = pb.DecodeResponse(images=pb.Tensor(data=b"\x01\x02"), version="3")
    payload = first.SerializeToString() + second.SerializeToString()
    parsed = wire.parse(pb.DecodeResponse, payload)
    assert parsed.arrays["images"].tolist() == [1, 2]
    assert parsed.message.version == "3"


def test_arrays_are_read_only_views_over_the_bytes_received() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    payload = pb.DecodeResponse(images=tensors.to_message(image)).SerializeToString()
    array = wire.parse(pb.DecodeResponse, payload).arrays["images"]
    assert not array.flags.writeable
    received = np.frombuffer(payload, np.uint8)
    assert np.shares_memory(array, received)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "u1"])
def test_an_array_in_any_layout_is_sent_in_c_order_and_little_endian(
    transposed: bool, dtype: str
) -> None:
    image = np.arange(24).reshape(2, 3, 4).astype(dtype)[::-1]
    image = image.T if transposed else image
    payload = wire.serialize(pb.EncodeRequest(), {"images": image})
    found = tensors.to_array(pb.EncodeRequest.FromString(payload).images)
    assert np.array_equal(found, image)


def test_an_element_type_that_the_contract_lacks_is_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        wire.serialize(pb.EncodeRequest(), {"images": np.zeros((1, 1, 2, 2))})
