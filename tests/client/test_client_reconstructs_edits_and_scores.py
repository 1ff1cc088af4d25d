"""Reconstruct, Traverse, Inpaint, Score, attributes and half floats through both clients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latens import AsyncClient, Client, errors
from server_process import running_server

BOLD = (0.5, -1.0)


@pytest.fixture(scope="module")
def address(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose model `mnist-2d` has the attribute `bold`."""
    repository = tmp_path_factory.mktemp("styled") / "models"
    shutil.copytree(model_repository, repository)
    manifest = repository / "mnist-2d" / "1" / "bundle.json"
    content = json.loads(manifest.read_text())
    content["spec"]["attributes"] = {"bold": list(BOLD)}
    manifest.write_text(json.dumps(content))
    with running_server(repository) as server:
        yield server.address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with Client(address) as made:
        yield made


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    from latens_training.data import datasets

    return datasets.load("mnist").test.images[:6].numpy()


def test_a_reconstruction_is_the_decoded_mean_with_its_error(
    client: Client, images: np.ndarray
) -> None:
    done = client.reconstruct(images)
    posterior = client.encode(images)
    assert posterior.log_var is not None
    np.testing.assert_allclose(done.latents, posterior.mean, atol=1e-5)
    np.testing.assert_allclose(done.images, client.decode(posterior.mean).images, atol=1e-5)
    pixels = images / 255
    chances = np.clip(done.images.astype(np.float64), 1e-7, 1 - 1e-7)
    entropy = -(pixels * np.log(chances) + (1 - pixels) * np.log1p(-chances)).sum((1, 2, 3))
    np.testing.assert_allclose(done.reconstruction, entropy, rtol=1e-3)
    mean, log_var = posterior.mean.astype(np.float64), posterior.log_var.astype(np.float64)
    kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(1)
    assert done.kl is not None
    np.testing.assert_allclose(done.kl, kl, rtol=1e-4)


def test_a_plain_autoencoder_reconstructs_without_kl(client: Client, images: np.ndarray) -> None:
    assert client.reconstruct(images, model="point").kl is None


def test_a_traversal_moves_one_coordinate_and_leaves_the_others(
    client: Client, images: np.ndarray
) -> None:
    done = client.traverse(images[:3], axes=[1, "bold"], start=-1, stop=2, steps=4)
    assert done.axes == (1, "bold")
    assert done.images.shape == (3, 2, 4, 1, 28, 28)
    base = client.encode(images[:3]).mean
    values = np.linspace(-1, 2, 4)
    np.testing.assert_allclose(done.latents[:, 0, :, 0], base[:, [0] * 4], atol=1e-5)
    np.testing.assert_allclose(done.latents[:, 0, :, 1], [values] * 3, atol=1e-6)
    along = base[:, None] + values[None, :, None] * np.array(BOLD)
    np.testing.assert_allclose(done.latents[:, 1], along, atol=1e-5)


def test_a_traversal_without_a_base_starts_at_the_priors_mean(client: Client) -> None:
    done = client.traverse(steps=3)
    assert done.axes == (0, 1)
    expected = [[[-3, 0], [0, 0], [3, 0]], [[0, -3], [0, 0], [0, 3]]]
    assert done.latents[0].tolist() == expected


def test_an_attribute_is_added_times_its_strength(client: Client) -> None:
    assert client.model().attributes == {"bold": BOLD}
    latents = np.array([[0.0, 0.0], [1.0, 1.0]], np.float32)
    shifted = latents + 2 * np.array(BOLD, np.float32)
    done = client.decode(latents, attributes={"bold": 2.0})
    assert done.latents is not None
    np.testing.assert_allclose(done.latents, shifted, atol=1e-6)
    np.testing.assert_allclose(done.images, client.decode(shifted).images, atol=1e-5)
    assert client.decode(latents).latents is None
    with pytest.raises(errors.InvalidInputError, match="bold"):
        client.decode(latents, attributes={"italic": 1.0})


def test_inpainting_keeps_known_pixels_and_fills_missing_ones(
    client: Client, images: np.ndarray
) -> None:
    mask = np.zeros((28, 28), bool)
    mask[:14] = True
    blank = np.where(mask, 0, images).astype(np.uint8)
    done = client.inpaint(blank, mask, iterations=30, average=10, seed=4, image_dtype=np.uint8)
    assert np.array_equal(done.images[:, :, 14:], images[:, :, 14:])
    noise = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    scribbled = np.where(mask, noise, images)
    again = client.inpaint(scribbled, mask, iterations=30, average=10, seed=4, image_dtype=np.uint8)
    assert np.abs(done.images.astype(int) - again.images).max() <= 1
    truth, filled = (batch[:, :, :14].astype(float) for batch in (images, done.images))
    assert np.square(filled - truth).mean() < np.square(truth).mean()


def test_other_images_score_lower_than_digits(client: Client, images: np.ndarray) -> None:
    done = client.score(images, samples=32, seed=1)
    assert done.standard_error is not None
    assert (done.standard_error > 0).all()
    noise = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
    assert client.score(noise, samples=32, seed=1).bound.max() < done.bound.min()
    assert ((done.effective_samples >= 1) & (done.effective_samples <= 32)).all()
    single = client.score(images, samples=1)
    assert single.standard_error is None
    assert single.dominated.all(), "the only sample outweighs no other, and is not to be trusted"
    with pytest.raises(errors.NotOfferedError, match="no variance of the posterior"):
        client.score(images, model="point")


async def test_the_noise_does_not_depend_on_how_the_batch_was_split(
    address: str, client: Client, images: np.ndarray
) -> None:
    mask = np.zeros(images.shape, np.uint8)
    mask[:, :, 10:20, 10:20] = 1
    scores = client.score(images, samples=16, seed=3)
    chains = client.inpaint(images, mask, iterations=5, seed=3)
    async with AsyncClient(address, rows_per_call=2) as other:
        parts = await other.score(images, samples=16, seed=3)
        np.testing.assert_allclose(parts.bound, scores.bound, rtol=1e-4)
        filled = await other.inpaint(images, mask, iterations=5, seed=3)
        np.testing.assert_allclose(filled.latents, chains.latents, atol=1e-3)
        done = await other.reconstruct(images, seed=9)
        whole = client.reconstruct(images, seed=9)
        np.testing.assert_allclose(done.latents, whole.latents, atol=1e-4)
        lines = await other.traverse(images, axes=[0], steps=2)
        assert lines.images.shape == (6, 1, 2, 1, 28, 28)


def test_half_floats_are_sent_and_received(client: Client, images: np.ndarray) -> None:
    halves = (images / 255).astype(np.float16)
    np.testing.assert_allclose(client.encode(halves).mean, client.encode(images).mean, atol=5e-3)
    latents = np.array([[0.5, -0.25]], np.float16)
    done = client.decode(latents, image_dtype=np.float16)
    assert done.images.dtype == np.float16
    np.testing.assert_allclose(done.images, client.decode(latents).images, atol=1e-3)


@pytest.mark.parametrize(
    "masks",
    [np.zeros((28, 28)), np.zeros((5, 28, 28), bool), np.zeros((28, 27), bool), np.zeros(28, bool)],
    ids=["floats", "too few", "another size", "a line"],
)
def test_masks_of_a_wrong_shape_are_reported(
    client: Client, images: np.ndarray, masks: np.ndarray
) -> None:
    with pytest.raises(errors.InvalidInputError) as raised:
        client.inpaint(images, masks, iterations=2)
    assert raised.value.field_violations[0].field.startswith("masks")
