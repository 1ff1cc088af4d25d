"""Traverse follows coordinates and attributes; attributes shift what is decoded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import grpc
import numpy as np
import pytest

from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from server_process import running_server

BOLD = [1.5, -0.5]
BASES = np.array([[0.5, -1.0], [0.0, 2.0]], np.float32)


@pytest.fixture(scope="module", params=["grpcio", "http2"])
def stub(
    request: pytest.FixtureRequest, model_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A server whose model has attributes, as a bundle of a labelled set has."""
    repository = tmp_path_factory.mktemp("with-attributes")
    copytree(model_repository, repository, dirs_exist_ok=True)
    manifest = repository / "mnist-2d" / "1" / "bundle.json"
    content = json.loads(manifest.read_text())
    content["spec"]["attributes"] = {"bold": BOLD}
    manifest.write_text(json.dumps(content))
    with (
        running_server(repository, f"--frontend={request.param}") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield latens_pb2_grpc.LatentServiceStub(channel)


def test_the_default_is_every_coordinate_through_the_priors_mean(stub: Any) -> None:
    response = stub.Traverse(pb.TraverseRequest(steps=5), timeout=30)

    lines = to_array(response.latents)
    assert lines.shape == (1, 2, 5, 2)
    assert np.array_equal(lines[0, 0, :, 0], np.linspace(-3, 3, 5, dtype=np.float32))
    assert not lines[0, 0, :, 1].any()
    assert np.array_equal(lines[0, 1, :, 1], np.linspace(-3, 3, 5, dtype=np.float32))
    assert [axis.coordinate for axis in response.axes] == [0, 1]


def test_the_images_are_those_of_the_latents(stub: Any) -> None:
    response = stub.Traverse(pb.TraverseRequest(steps=3), timeout=30)

    points = to_array(response.latents).reshape(-1, 2)
    decoded = stub.Decode(pb.DecodeRequest(latents=to_message(points)), timeout=30)
    images = to_array(response.images)
    assert images.shape == (1, 2, 3, 1, 28, 28)
    assert np.allclose(images.reshape(-1, 1, 28, 28), to_array(decoded.images), atol=1e-5)


def test_an_attribute_is_added_and_a_coordinate_is_set(stub: Any) -> None:
    request = pb.TraverseRequest(
        bases=pb.Endpoints(latents=to_message(BASES)),
        axes=[pb.TraversalAxis(coordinate=1), pb.TraversalAxis(attribute="bold")],
        start=-1,
        stop=1,
        steps=3,
    )

    lines = to_array(stub.Traverse(request, timeout=30).latents)

    assert np.allclose(lines[:, 0, :, 1], [[-1, 0, 1]] * 2)
    assert np.allclose(lines[:, 0, :, 0], BASES[:, :1])
    expected = BASES[:, None] + np.array([-1, 0, 1])[:, None] * BOLD
    assert np.allclose(lines[:, 1], expected)


def test_images_may_be_the_bases(stub: Any) -> None:
    images = to_message(np.full((2, 1, 28, 28), 0.5, np.float32))
    mean = to_array(stub.Encode(pb.EncodeRequest(images=images), timeout=30).mean)

    request = pb.TraverseRequest(bases=pb.Endpoints(images=images), steps=2)
    lines = to_array(stub.Traverse(request, timeout=30).latents)

    assert np.allclose(lines[:, 0, :, 1], mean[:, 1:])


def test_decode_adds_attributes_and_returns_what_it_decoded(stub: Any) -> None:
    shift = pb.AttributeShift(name="bold", strength=-2)
    request = pb.DecodeRequest(latents=to_message(BASES), attributes=[shift])

    response = stub.Decode(request, timeout=30)

    expected = (BASES - 2 * np.array(BOLD)).astype(np.float32)
    assert np.allclose(to_array(response.latents), expected)
    plain = stub.Decode(pb.DecodeRequest(latents=to_message(expected)), timeout=30)
    assert np.allclose(to_array(response.images), to_array(plain.images), atol=1e-5)
    assert not plain.HasField("latents")


def test_the_model_lists_its_attributes(stub: Any) -> None:
    (attribute,) = stub.GetModel(pb.GetModelRequest(), timeout=30).model.attributes

    assert attribute.name == "bold"
    assert list(attribute.direction) == BOLD


def test_half_precision_is_read_and_written(stub: Any) -> None:
    halves = to_message(BASES.astype(np.float16))
    request = pb.DecodeRequest(latents=halves, image_dtype=pb.DATA_TYPE_FLOAT16)

    images = to_array(stub.Decode(request, timeout=30).images)

    assert images.dtype == np.float16
    plain = stub.Decode(pb.DecodeRequest(latents=to_message(BASES)), timeout=30)
    assert np.allclose(images, to_array(plain.images), atol=1e-3)
    encoded = stub.Encode(pb.EncodeRequest(images=to_message(images)), timeout=30)
    assert to_array(encoded.mean).dtype == np.float32


def shift(name: str, strength: float) -> pb.AttributeShift:
    return pb.AttributeShift(name=name, strength=strength)


LATENTS = to_message(BASES)
BAD = {
    "an unknown attribute": (
        pb.DecodeRequest(latents=LATENTS, attributes=[shift("serif", 1)]),
        "attributes[0].name",
    ),
    "an attribute twice": (
        pb.DecodeRequest(latents=LATENTS, attributes=[shift("bold", 1), shift("bold", 2)]),
        "attributes[1].name",
    ),
    "a strength that is not finite": (
        pb.DecodeRequest(latents=LATENTS, attributes=[shift("bold", float("inf"))]),
        "attributes[0].strength",
    ),
    "a coordinate beyond the last": (
        pb.TraverseRequest(steps=3, axes=[pb.TraversalAxis(coordinate=2)]),
        "axes[0].coordinate",
    ),
    "a negative coordinate": (
        pb.TraverseRequest(steps=3, axes=[pb.TraversalAxis(coordinate=-1)]),
        "axes[0].coordinate",
    ),
    "an unknown axis": (
        pb.TraverseRequest(steps=3, axes=[pb.TraversalAxis(attribute="serif")]),
        "axes[0].attribute",
    ),
    "an axis of nothing": (pb.TraverseRequest(steps=3, axes=[pb.TraversalAxis()]), "axes[0]"),
    "one step": (pb.TraverseRequest(steps=1), "steps"),
    "2^62 steps": (pb.TraverseRequest(steps=2**62), "steps"),
    "an infinite start": (pb.TraverseRequest(steps=3, start=float("-inf")), "start"),
    "NaN as the stop": (pb.TraverseRequest(steps=3, stop=float("nan")), "stop"),
    "bases of nothing": (pb.TraverseRequest(steps=3, bases=pb.Endpoints()), "bases"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_name_their_field(stub: Any, case: str) -> None:
    request, field = BAD[case]
    call = stub.Decode if isinstance(request, pb.DecodeRequest) else stub.Traverse

    with pytest.raises(grpc.RpcError) as failure:
        call(request, timeout=30)

    error: Any = failure.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(f"{field}: ")
