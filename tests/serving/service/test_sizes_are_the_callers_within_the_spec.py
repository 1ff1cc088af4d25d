"""Where sizes are free, callers of several sizes share a server, and none is mixed up."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from latens.oip import open_inference_pb2 as oip
from latens.oip import open_inference_pb2_grpc
from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.bundle.prior import FittedPrior
from process_figures import metric_sum, wait_until
from server_process import Server, running_server
from toy_bundles import (
    CHANNELS,
    decoded,
    encoded,
    random_images,
    side,
    spatial_spec,
    write_spatial,
)

SIZES = ((8, 8), (16, 64), (32, 12))
ALLOWED = "expected a multiple of 4 from 8 to 64"
LARGEST = 1 << 10


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`spatial`; `plain`, deterministic and without prior; `fitted`, whose prior is fitted;
    `large`, of which few rows fit into a message."""
    root = tmp_path_factory.mktemp("models")
    write_spatial(root)
    write_spatial(root, "plain", spatial_spec(posterior="deterministic", prior="none"))
    mean, std = (np.full((CHANNELS, 1, 1), value, np.float32) for value in (0.5, 0.01))
    write_spatial(
        root,
        "fitted",
        spatial_spec(posterior="deterministic", prior="fitted-gaussian"),
        prior=FittedPrior(mean, std),
    )
    sides = (side("height", maximum=LARGEST), side("width", maximum=LARGEST))
    write_spatial(root, "large", spatial_spec(data_axes=(spatial_spec().data_axes[0], *sides)))
    return root


@pytest.fixture(scope="module", params=["grpcio", "http2"])
def server(request: pytest.FixtureRequest, repository: Path) -> Iterator[Server]:
    flags = ("--default-model=spatial", f"--max-message-bytes={1 << 21}", "--log-calls=none")
    with running_server(repository, f"--frontend={request.param}", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Any:
    return latens_pb2_grpc.LatentServiceStub(channel)


def refused(call: Any, request: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    return caught.value


def test_many_callers_of_several_sizes_each_get_their_own_answer(server: Server, stub: Any) -> None:
    def round_trip(number: int) -> None:
        images = random_images(1 + number % 3, *SIZES[number % len(SIZES)], seed=number)
        posterior = stub.Encode(pb.EncodeRequest(images=to_message(images)), timeout=60)
        mean = to_array(posterior.mean)
        np.testing.assert_allclose(mean, encoded(images), atol=1e-5)
        answer = stub.Decode(pb.DecodeRequest(latents=to_message(mean)), timeout=60)
        np.testing.assert_allclose(to_array(answer.images), decoded(mean), atol=1e-5)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(round_trip, range(90)))
    gauges = ("latens_calls_in_flight", "latens_queue_rows", "latens_queue_bytes")
    wait_until(lambda: not any(metric_sum(server, gauge) for gauge in gauges))


def test_every_call_takes_each_size(stub: Any) -> None:
    for height, width in SIZES:
        images = random_images(2, height, width)
        ends = pb.Endpoints(images=to_message(images))
        path = stub.Interpolate(pb.InterpolateRequest(starts=ends, ends=ends, steps=3), timeout=20)
        assert path.images.shape == [2, 3, CHANNELS, height, width]
        lines = stub.Traverse(
            pb.TraverseRequest(bases=ends, axes=[pb.TraversalAxis(coordinate=0)], steps=2),
            timeout=20,
        )
        assert lines.latents.shape == [2, 1, 2, CHANNELS, height // 4, width // 4]
        masks = to_message(np.ones((2, 1, height, width), np.uint8))
        filled = stub.Inpaint(
            pb.InpaintRequest(images=to_message(images), masks=masks, iterations=1), timeout=20
        )
        assert filled.images.shape == [2, CHANNELS, height, width]


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 3, 18, 8), f"height: {ALLOWED}, got 18; the nearest allowed size is 20"),
        ((1, 3, 8, 4), f"width: {ALLOWED}, got 4; the nearest allowed size is 8"),
        ((1, 3, 128, 8), f"height: {ALLOWED}, got 128; the nearest allowed size is 64"),
        ((1, 1, 8, 8), "channels: expected 3, got 1"),
        ((3, 8, 8), "expected images of shape [n, 3, height, width], got [3, 8, 8]"),
    ],
)
def test_a_size_outside_the_spec_is_refused_with_what_would_do(
    stub: Any, channel: grpc.Channel, shape: tuple[int, ...], said: str
) -> None:
    images = np.zeros(shape, np.float32)
    infer = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
    tensor = oip.ModelInferRequest.InferInputTensor(name="images", datatype="FP32", shape=shape)
    foreign = oip.ModelInferRequest(
        model_name="spatial-encoder", inputs=[tensor], raw_input_contents=[images.tobytes()]
    )
    for call, request in (
        (stub.Encode, pb.EncodeRequest(images=to_message(images))),
        (infer, foreign),
    ):
        error = refused(call, request)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert said in str(error.details())


def test_latents_outside_the_spec_are_refused_in_their_own_sizes(stub: Any) -> None:
    latents = to_message(np.zeros((1, 3, 17, 2), np.float32))
    error = refused(stub.Decode, pb.DecodeRequest(latents=latents))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    said = "latents.shape: height: expected a size from 2 to 16, got 17"
    assert said in str(error.details())


def test_end_points_of_two_sizes_are_refused(stub: Any) -> None:
    starts, ends = (pb.Endpoints(images=to_message(random_images(1, *size))) for size in SIZES[:2])
    error = refused(stub.Interpolate, pb.InterpolateRequest(starts=starts, ends=ends, steps=2))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ends: expected latents of shape [3, 2, 2] as starts" in str(error.details())


def test_rows_are_limited_by_the_bytes_of_their_size(stub: Any) -> None:
    def encode(rows: int, side: int) -> pb.EncodeRequest:
        images = np.zeros((rows, CHANNELS, side, side), np.uint8)
        return pb.EncodeRequest(model="large", images=to_message(images))

    assert stub.Encode(encode(3, 200), timeout=60).mean.shape == [3, 3, 50, 50]
    error = refused(stub.Encode, encode(6, 200))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "a call to large may carry 3 rows, got 6" in str(error.details())
    latents = to_message(np.zeros((1, CHANNELS, 256, 256), np.float32))
    error = refused(stub.Decode, pb.DecodeRequest(model="large", latents=latents))
    assert "takes 4718592 bytes, a message holds 2097152" in str(error.details())


def test_a_model_is_described_with_its_axes(stub: Any, channel: grpc.Channel) -> None:
    model = stub.GetModel(pb.GetModelRequest(), timeout=20).model
    assert (list(model.image_shape), list(model.latent_shape)) == ([3, 0, 0], [3, 0, 0])
    height = pb.Axis(name="height", multiple=4, minimum=8, maximum=64, usual=16)
    assert model.image_axes[1] == height
    assert model.image_axes[0] == pb.Axis(name="channels", size=3)
    assert model.latent_axes[1] == pb.Axis(
        name="height", multiple=1, minimum=2, maximum=16, usual=4, of="height", stride=4
    )
    assert model.prior == pb.PRIOR_STANDARD_NORMAL
    assert model.likelihood == pb.LIKELIHOOD_NONE
    assert model.modality == pb.MODALITY_IMAGE
    assert model.tiling.kind == pb.Tiling.KIND_NONE
    oip_stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    request = oip.ModelMetadataRequest(name="spatial-decoder")
    metadata = oip_stub.ModelMetadata(request, timeout=20)
    assert list(metadata.inputs[0].shape) == [-1, 3, -1, -1]


def test_encode_says_that_a_posterior_is_deterministic_by_the_absence_of_log_var(
    stub: Any,
) -> None:
    images = to_message(random_images(1, 8, 8))
    plain = stub.Encode(pb.EncodeRequest(model="plain", images=images), timeout=20)
    assert not plain.HasField("log_var")
    assert stub.Encode(pb.EncodeRequest(images=images), timeout=20).HasField("log_var")
    model = stub.GetModel(pb.GetModelRequest(model="plain"), timeout=20).model
    assert (model.posterior, model.prior) == (pb.POSTERIOR_DETERMINISTIC, pb.PRIOR_NONE)


def test_sample_of_a_model_without_prior_says_what_to_do(stub: Any) -> None:
    request = pb.SampleRequest(model="plain", count=1, latent_shape=[3, 2, 2])
    error = refused(stub.Sample, request)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "no prior" in str(error.details())
    assert "--fit-prior" in str(error.details())


def test_a_fitted_prior_is_sampled_from(stub: Any) -> None:
    request = pb.SampleRequest(model="fitted", count=50, seed=3, latent_shape=[3, 4, 8])
    answer = stub.Sample(request, timeout=20)
    latents = to_array(answer.latents)
    assert latents.shape == (50, 3, 4, 8)
    assert latents.mean() == pytest.approx(0.5, abs=0.001)
    assert latents.std() == pytest.approx(0.01, rel=0.05)
    np.testing.assert_allclose(to_array(answer.images), decoded(latents), atol=1e-5)
    request.temperature = 0
    still = to_array(stub.Sample(request, timeout=20).latents)
    np.testing.assert_array_equal(still, np.full_like(still, 0.5))


def test_sample_draws_the_size_that_is_asked_for(stub: Any) -> None:
    request = pb.SampleRequest(count=2, seed=1, latent_shape=[3, 2, 16])
    answer = stub.Sample(request, timeout=20)
    assert (answer.images.shape, answer.latents.shape) == ([2, 3, 8, 64], [2, 3, 2, 16])
    for shape, said in (
        ([], "expected latents of shape [3, height, width], got []; usual is [3, 4, 4]"),
        ([3, 2, 99], "width: expected a size from 2 to 16, got 99"),
    ):
        error = refused(stub.Sample, pb.SampleRequest(count=1, latent_shape=shape))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"latent_shape: {said}" in str(error.details())


def test_a_model_without_likelihood_gives_squared_errors_and_no_nats(stub: Any) -> None:
    images = random_images(3, 8, 12)
    answer = stub.Reconstruct(pb.ReconstructRequest(images=to_message(images)), timeout=20)
    expected = np.square(decoded(encoded(images)) - images).mean((1, 2, 3))
    np.testing.assert_allclose(to_array(answer.reconstruction), expected, rtol=1e-4)
    assert not answer.HasField("kl")
    error = refused(stub.Score, pb.ScoreRequest(images=to_message(images), samples=2))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "no likelihood" in str(error.details())


def test_a_traversal_of_a_model_of_free_size_needs_its_bases(stub: Any) -> None:
    error = refused(stub.Traverse, pb.TraverseRequest(steps=2))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "bases: " in str(error.details())
