"""A row's answer does not depend on its batch, on other callers or on the split of a call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest

from latens.tensors import to_array, to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.service.noise import draw_posterior
from latens_training.data import datasets
from server_process import Server, running_server

# Matrix products sum in another order for another number of rows; the bundle's own tolerance.
TOLERANCE = 1e-5
ROWS = 40


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return datasets.load("mnist").test.images[:ROWS].numpy()


def encode(rows: np.ndarray, **draw: int) -> pb.EncodeRequest:
    request = pb.EncodeRequest(model="mnist-2d", images=to_message(rows))
    if draw:
        request.draw.CopyFrom(pb.PosteriorDraw(**draw))
    return request


def stub_of(channel: object) -> latens_pb2_grpc.LatentServiceStub:
    return latens_pb2_grpc.LatentServiceStub(channel)


@pytest.mark.parametrize("inline_seconds", ["0", "1"], ids=["in a thread", "in the loop"])
async def test_a_row_is_the_same_alone_and_in_any_batch(
    model_repository: Path, digits: np.ndarray, inline_seconds: str
) -> None:
    strangers = np.random.default_rng(0).integers(0, 256, (64, 1, 28, 28), np.uint8)
    with running_server(model_repository, f"--inline-seconds={inline_seconds}") as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = stub_of(channel)
            whole = to_array((await stub.Encode(encode(digits), timeout=60)).mean)
            mine = [stub.Encode(encode(digits[row : row + 1]), timeout=60) for row in range(ROWS)]
            others = [stub.Encode(encode(strangers[:size]), timeout=60) for size in (1, 7, 64)]
            answers = await asyncio.gather(*mine)
            await asyncio.gather(*others)
    alone = np.concatenate([to_array(answer.mean) for answer in answers])
    np.testing.assert_allclose(alone, whole, atol=TOLERANCE)


def test_a_seed_gives_the_same_rows_however_the_call_was_split(
    server: Server, digits: np.ndarray
) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = stub_of(channel)

        def sampled(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            request = pb.SampleRequest(model="mnist-2d", count=count, seed=9, first_row=first)
            answer = stub.Sample(request, timeout=60)
            return to_array(answer.latents), to_array(answer.images)

        latents, images = sampled(0, 30)
        parts = [sampled(0, 11), sampled(11, 1), sampled(12, 18)]
        np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), latents)
        split_images = np.concatenate([part[1] for part in parts])
        np.testing.assert_allclose(split_images, images, atol=TOLERANCE)

        whole = stub.Encode(encode(digits, seed=5), timeout=60)
        halves = [
            stub.Encode(encode(digits[first:][:20], seed=5, first_row=first), timeout=60)
            for first in (0, 20)
        ]
        drawn = np.concatenate([to_array(half.latents) for half in halves])
        np.testing.assert_allclose(drawn, to_array(whole.latents), atol=1e-4)
        mean, log_var = to_array(whole.mean), to_array(whole.log_var)
        expected = draw_posterior(mean, log_var, seed=5, first_row=0)
        np.testing.assert_allclose(to_array(whole.latents), expected, atol=1e-6)


def test_a_seed_chosen_by_the_server_reproduces_the_result(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = stub_of(channel)
        chosen = stub.Sample(pb.SampleRequest(count=2), timeout=60)
        again = stub.Sample(pb.SampleRequest(count=2, seed=chosen.seed), timeout=60)
        other = stub.Sample(pb.SampleRequest(count=2), timeout=60)
    assert again.latents.data == chosen.latents.data
    assert other.seed != chosen.seed
    assert other.latents.data != chosen.latents.data


def test_a_call_larger_than_a_run_of_the_engine_is_whole(model_repository: Path) -> None:
    with (
        running_server(model_repository, "--max-batch-rows=16") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = stub_of(channel)
        few = stub.Sample(pb.SampleRequest(model="mnist-2d", count=100, seed=3), timeout=60)
    latents, images = to_array(few.latents), to_array(few.images)
    assert images.shape == (100, 1, 28, 28)
    with (
        running_server(model_repository) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        decode = pb.DecodeRequest(model="mnist-2d", latents=to_message(latents))
        whole = to_array(stub_of(channel).Decode(decode, timeout=60).images)
    np.testing.assert_allclose(images, whole, atol=TOLERANCE)
