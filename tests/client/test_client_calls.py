"""Numpy in, numpy out: every method of both clients against a real server."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import numpy as np
import pytest

from latens import Health, errors
from latens.async_client import AsyncClient
from latens.client import Client
from server_process import Server

METHODS = (
    *("models", "model", "encode", "decode", "sample", "interpolate", "reconstruct", "traverse"),
    *("inpaint", "score", "health"),
)


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    with Client(server.address) as made:
        yield made


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    from latens_training.data import datasets

    return datasets.load("mnist").test.images[:5].numpy()


def test_sync_and_async_have_the_same_methods_with_the_same_arguments() -> None:
    def public(kind: type) -> dict[str, Any]:
        return {
            name: inspect.signature(member)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert public(Client) == public(AsyncClient)
    assert {"__init__", "close", *METHODS} <= public(Client).keys()


async def test_sync_and_async_give_the_same_answers(
    server: Server, client: Client, images: np.ndarray
) -> None:
    async with AsyncClient(server.address, rows_per_call=2) as other:
        assert await other.models() == client.models()
        assert await other.model() == client.model()
        encoding, expected = await other.encode(images, seed=1), client.encode(images, seed=1)
        np.testing.assert_allclose(encoding.mean, expected.mean, atol=1e-5)
        assert encoding.latents is not None
        assert expected.latents is not None
        np.testing.assert_allclose(encoding.latents, expected.latents, atol=1e-4)
        decoding = await other.decode(expected.mean)
        np.testing.assert_allclose(decoding.images, client.decode(expected.mean).images, atol=1e-5)
        samples = await other.sample(4, seed=3)
        assert np.array_equal(samples.latents, client.sample(4, seed=3).latents)
        paths = await other.interpolate(samples.latents, samples.latents[::-1], 3)
        assert paths.images.shape == (4, 3, 1, 28, 28)
        assert await other.health() is Health.SERVING


async def test_many_async_calls_at_once_each_get_their_own_answer(server: Server) -> None:
    async with AsyncClient(server.address) as client:
        latents = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
        answers = await asyncio.gather(*(client.decode(row[None]) for row in latents))
        whole = (await client.decode(latents)).images
    joined = np.concatenate([answer.images for answer in answers])
    np.testing.assert_allclose(joined, whole, atol=1e-5)


def test_the_model_describes_its_contract(client: Client) -> None:
    model = client.model("mnist-2d", "1")
    assert (model.name, model.version, model.state) == ("mnist-2d", "1", "READY")
    assert (model.image_shape, model.latent_shape, model.latent_size) == ((1, 28, 28), (2,), 2)
    assert (model.likelihood, model.posterior) == ("BERNOULLI", "DIAGONAL_GAUSSIAN")
    assert model.limits.max_rows > 0
    assert sorted(model.coordinates_by_activity()) == [0, 1]
    listed = client.models()
    assert {entry.name for entry in listed.models} == {"mnist-2d", "point"}
    assert listed.default == "mnist-2d"


def test_images_may_be_bytes_or_floats_and_come_back_as_either(
    client: Client, images: np.ndarray
) -> None:
    of_bytes = client.encode(images)
    of_floats = client.encode(images.astype(np.float64) / 255)
    of_planes = client.encode(images[:, 0])
    np.testing.assert_allclose(of_bytes.mean, of_floats.mean, atol=1e-4)
    assert np.array_equal(of_bytes.mean, of_planes.mean)
    as_floats = client.decode(of_bytes.mean).images
    as_bytes = client.decode(of_bytes.mean, image_dtype=np.uint8).images
    assert as_floats.dtype == np.dtype(np.float32)
    assert as_bytes.dtype == np.dtype(np.uint8)
    assert np.abs(as_floats * 255 - as_bytes).max() <= 0.51


def test_a_plain_autoencoder_has_no_variance(client: Client, images: np.ndarray) -> None:
    encoding = client.encode(images, model="point", draw=True)
    assert encoding.log_var is None
    assert encoding.latents is not None
    assert np.array_equal(encoding.latents, encoding.mean)


def test_end_points_of_a_path_are_images_or_latents(client: Client, images: np.ndarray) -> None:
    means = client.encode(images).mean
    by_images = client.interpolate(images[:2], images[2:4], 4)
    by_latents = client.interpolate(means[:2], means[2:4], 4)
    mixed = client.interpolate(images[:2], means[2:4], 4, ends_are=None)
    for paths in (by_images, mixed):
        np.testing.assert_allclose(paths.latents, by_latents.latents, atol=1e-5)
    np.testing.assert_allclose(by_latents.latents[:, 0], means[:2], atol=1e-6)
    arcs = client.interpolate(means[:2], means[2:4], 3, mode="spherical")
    lengths = np.linalg.norm(arcs.latents, axis=-1)
    np.testing.assert_allclose(lengths[:, 1], (lengths[:, 0] + lengths[:, 2]) / 2, rtol=1e-4)


def test_temperature_scales_the_noise(client: Client) -> None:
    warm = client.sample(6, seed=2, temperature=2.0)
    np.testing.assert_allclose(warm.latents, 2 * client.sample(6, seed=2).latents, rtol=1e-6)
    assert not client.sample(2, temperature=0.0).latents.any()


def test_results_cannot_be_written_to(client: Client) -> None:
    for rows in (client.sample(2).images, client.encode(np.zeros((1, 1, 28, 28))).mean):
        with pytest.raises(ValueError, match="read-only"):
            rows[0] = 1


def test_health_is_known_for_the_server_and_its_services(client: Client) -> None:
    assert client.health() is Health.SERVING
    assert client.health("latens.v1.LatentService") is Health.SERVING
    with pytest.raises(errors.LatensError, match="no service 'nobody'"):
        client.health("nobody")


def test_closing_ends_calls_in_progress() -> None:
    client = Client("127.0.0.1:1")
    client.close()
    with pytest.raises((errors.CallCancelledError, ValueError)):
        client.sample(1)
