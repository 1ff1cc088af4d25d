"""Inpaint keeps known pixels, and fills missing ones better than the mean image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_training.data import datasets
from server_process import Server

MNIST = datasets.load("mnist")
IMAGES = MNIST.test.images[:64].numpy()
LOWER_HALF = np.zeros((64, 1, 28, 28), np.uint8)
LOWER_HALF[:, :, 14:] = 1


@pytest.fixture(scope="module")
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield latens_pb2_grpc.LatentServiceStub(channel)


def inpainted(stub: Any, rows: slice = slice(None), **more: Any) -> pb.InpaintResponse:
    settings = {"iterations": 20, "seed": 3, **more}
    request = pb.InpaintRequest(
        images=to_message(IMAGES[rows]), masks=to_message(LOWER_HALF[rows]), **settings
    )
    response: pb.InpaintResponse = stub.Inpaint(request, timeout=60)
    return response


def missing_nats(filled: NDArray[Any]) -> float:
    """The cross-entropy of the missing pixels, nats per image."""
    p = np.clip(filled[:, :, 14:].astype(np.float64), 1e-3, 1 - 1e-3)
    x = IMAGES[:, :, 14:] / 255
    return float(-(x * np.log(p) + (1 - x) * np.log(1 - p)).sum() / len(IMAGES))


def test_known_pixels_are_unchanged(stub: Any) -> None:
    response = inpainted(stub, image_dtype=pb.DATA_TYPE_UINT8)

    assert np.array_equal(to_array(response.images)[:, :, :14], IMAGES[:, :, :14])
    assert to_array(response.latents).shape == (64, 2)
    assert response.seed == 3


def test_pixels_under_the_mask_have_no_effect(stub: Any) -> None:
    blackened = IMAGES.copy()
    blackened[:, :, 14:] = 255
    request = pb.InpaintRequest(
        images=to_message(blackened), masks=to_message(LOWER_HALF), iterations=20, seed=3
    )

    response = stub.Inpaint(request, timeout=60)

    assert response.images == inpainted(stub).images


def test_a_missing_pixel_may_be_nan_and_a_known_one_may_not(stub: Any) -> None:
    images = (IMAGES / 255).astype(np.float32)
    under_the_mask, beside_it = images.copy(), images.copy()
    under_the_mask[:, :, 14:] = np.nan
    beside_it[0, 0, 0, 0] = np.nan

    def request(given: NDArray[Any]) -> pb.InpaintRequest:
        masks = to_message(LOWER_HALF)
        return pb.InpaintRequest(images=to_message(given), masks=masks, iterations=3, seed=3)

    filled = stub.Inpaint(request(under_the_mask), timeout=60)
    assert filled.images == stub.Inpaint(request(images), timeout=60).images
    with pytest.raises(grpc.RpcError) as caught:
        stub.Inpaint(request(beside_it), timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_chain_depends_on_seed_and_row_alone(stub: Any) -> None:
    whole = to_array(inpainted(stub).images)

    part = to_array(inpainted(stub, slice(40, 50), first_row=40).images)

    assert np.allclose(part, whole[40:50], atol=1e-4)
    assert not np.allclose(to_array(inpainted(stub, seed=4).images), whole, atol=1e-2)


def test_it_beats_the_mean_image_and_a_single_reconstruction(stub: Any) -> None:
    mean_image = MNIST.train.images.float().mean(0, keepdim=True).numpy() / 255
    emptied = np.where(LOWER_HALF, 0, IMAGES)
    single = stub.Reconstruct(pb.ReconstructRequest(images=to_message(emptied)), timeout=30)

    chain = missing_nats(to_array(inpainted(stub, iterations=60, average=40).images))

    assert chain < missing_nats(np.broadcast_to(mean_image, IMAGES.shape))
    assert chain < missing_nats(to_array(single.images))


def test_a_deterministic_model_inpaints_too(stub: Any) -> None:
    response = inpainted(stub, slice(0, 2), model="point")

    assert np.isfinite(to_array(response.images)).all()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no mask": ({"masks": pb.Tensor()}, "masks.dtype"),
    "a mask of another shape": ({"masks": to_message(LOWER_HALF[:1])}, "masks.shape"),
    "a mask of floats": ({"masks": to_message(LOWER_HALF.astype(np.float32))}, "masks.dtype"),
    "no iterations": ({"iterations": 0}, "iterations"),
    "negative iterations": ({"iterations": -1}, "iterations"),
    "too many iterations": ({"iterations": 10**9}, "iterations"),
    "an average over more than there is": ({"average": 21}, "average"),
    "a negative average": ({"average": -1}, "average"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_name_their_field(stub: Any, case: str) -> None:
    changes, field = BAD[case]
    arguments: dict[str, Any] = {
        "images": to_message(IMAGES),
        "masks": to_message(LOWER_HALF),
        "iterations": 20,
        **changes,
    }

    with pytest.raises(grpc.RpcError) as failure:
        stub.Inpaint(pb.InpaintRequest(**arguments), timeout=30)

    error: Any = failure.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(f"{field}: ")


def test_more_passes_than_a_call_may_cost_are_refused(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        stub.Score(pb.ScoreRequest(images=to_message(IMAGES), samples=100_000), timeout=30)

    error: Any = failure.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "samples" in error.details()
