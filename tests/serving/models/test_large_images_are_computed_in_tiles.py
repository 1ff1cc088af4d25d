"""Images beyond the memory of one pass are computed in tiles: exactly, or by permission alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diffusers_models import autoencoder_kl, autoencoder_tiny, saved, seeded
from latens import Client
from latens.errors import TooLargeError
from latens_export.cli import main
from latens_serving.bundle.files import read_manifest
from latens_serving.bundle.spec import ModelSpec, Tiles
from latens_serving.errors import TooLargeError as ServerTooLargeError
from latens_serving.models.tiles import NO_LIMIT, TileLimits, Tiler, batch_elements
from server_process import Server, running_server
from toy_bundles import decoded, encoded, random_images, side, spatial_spec

TOLERANCE = 2e-5
MEMORY = 3_400_000
"""Bytes: the whole of what is sent here needs more."""
SIZES = ((160, 224), (256, 144))


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    return {"tiny": seeded(autoencoder_tiny), "kl": seeded(autoencoder_kl)}


@pytest.fixture(scope="module")
def repository(networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    for name, network in networks.items():
        path = saved(network, folder / name)
        target = ["--repository", f"{folder}/models", "--name", name, "--opset", "20"]
        assert main(["diffusers", str(path), *target]) == 0
    return folder / "models"


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with running_server(repository, f"--tile-memory={MEMORY}") as running:
        yield running


def pixels(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).random(shape, np.float32)


def runs(server: Server, model: str, graph: str) -> float:
    with urlopen(f"http://{server.http_address}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    start = f'latens_batch_rows_count{{graph="{graph}",model="{model}"}} '
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_export_finds_which_networks_are_local(repository: Path) -> None:
    tiny, kl = (read_manifest(repository / name / "1").spec for name in ("tiny", "kl"))
    assert (tiny.tiles, kl.tiles) == (Tiles.EXACT, Tiles.APPROXIMATE)
    assert 0 < tiny.halo < 128
    assert tiny.activation_bytes is not None
    assert min(tiny.activation_bytes) > 12, "an image itself takes 4 bytes an element"


@pytest.mark.parametrize("size", SIZES)
def test_tiles_of_a_local_network_are_exact(
    size: tuple[int, int], server: Server, networks: dict[str, Any]
) -> None:
    images = pixels(2, 3, *size)
    network = networks["tiny"]
    with torch.inference_mode():
        mean = network.encode(2 * torch.from_numpy(images) - 1).latents
        expected = (network.decode(mean).sample / 2 + 0.5).clamp(0, 1).numpy()
    before = runs(server, "tiny", "encoder"), runs(server, "tiny", "decoder")
    with Client(server.address) as client:
        np.testing.assert_allclose(
            client.encode(images, model="tiny").mean, mean.numpy(), atol=TOLERANCE
        )
        np.testing.assert_allclose(
            client.decode(mean.numpy(), model="tiny").images, expected, atol=TOLERANCE
        )
        levels = client.decode(mean.numpy(), model="tiny", image_dtype=np.uint8).images
        assert np.abs(levels - 255 * expected).max() <= 0.51
    after = runs(server, "tiny", "encoder"), runs(server, "tiny", "decoder")
    assert after[0] - before[0] > 1, "it was run in tiles"
    assert after[1] - before[1] > 2


def test_small_images_are_run_whole(server: Server) -> None:
    before = runs(server, "tiny", "decoder")
    with Client(server.address) as client:
        client.decode(np.zeros((1, 4, 4, 4), np.float32), model="tiny")
    assert runs(server, "tiny", "decoder") == before + 1


def test_a_network_that_is_not_local_is_refused_with_the_advice(server: Server) -> None:
    with Client(server.address) as client:
        with pytest.raises(TooLargeError, match="--tile-approximate"):
            client.encode(pixels(1, 3, 160, 160), model="kl")
        with pytest.raises(TooLargeError, match="the network looks at all of it"):
            client.decode(np.zeros((1, 4, 80, 80), np.float32), model="kl")


def test_by_permission_it_is_blended(repository: Path, networks: dict[str, Any]) -> None:
    latents = np.random.default_rng(1).standard_normal((1, 4, 80, 80)).astype(np.float32)
    network = networks["kl"]
    with torch.inference_mode():
        sample = network.decode(torch.from_numpy(latents) / 0.18215).sample
    whole = (sample / 2 + 0.5).clamp(0, 1).numpy()
    flags = (f"--tile-memory={2 * MEMORY}", "--tile-approximate")
    with running_server(repository, *flags) as server, Client(server.address) as client:
        images = client.decode(latents, model="kl").images
        assert runs(server, "kl", "decoder") > 3
    difference = np.abs(images - whole)
    assert images.shape == whole.shape
    assert 1e-4 < difference.mean() < 0.1, "another picture, but much like it"


def test_without_a_limit_nothing_is_tiled(repository: Path) -> None:
    spec = read_manifest(repository / "tiny" / "1").spec
    tiler = Tiler(spec, "decoder", NO_LIMIT)
    assert not tiler.is_needed((3, 2048, 2048))


def toy(tiles: Tiles, **more: Any) -> ModelSpec:
    channels, *_ = spatial_spec().data_axes
    sides = (side("height", maximum=256), side("width", maximum=256))
    return spatial_spec(
        data_axes=(channels, *sides), tiles=tiles, activation_bytes=(8.0, 8.0), **more
    )


async def encode_toy(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32]]:
    return (encoded(rows),)


async def decode_toy(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32]]:
    return (decoded(rows),)


@pytest.mark.parametrize("approximate", [True, False])
@pytest.mark.parametrize("size", [(256, 256), (200, 76), (8, 256), (256, 12)])
async def test_every_place_is_computed_once(size: tuple[int, int], approximate: bool) -> None:
    """Of a network without context even blended tiles give the whole."""
    images = random_images(2, *size)
    spec = toy(Tiles.APPROXIMATE if approximate else Tiles.EXACT, halo=0 if approximate else 4)
    limits = TileLimits(3 * 8 * 80 * 80, approximate=approximate)
    (mean,) = await Tiler(spec, "encoder", limits).run(images, encode_toy)
    np.testing.assert_allclose(mean, encoded(images), atol=1e-6)
    (again,) = await Tiler(spec, "decoder", limits).run(mean, decode_toy)
    np.testing.assert_allclose(again, decoded(encoded(images)), atol=1e-6)


async def test_no_tile_exceeds_the_limit() -> None:
    seen: list[int] = []

    async def watched(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32]]:
        seen.append(rows[0].size * 8)
        return (encoded(rows),)

    limit = 3 * 8 * 24 * 24
    spec = toy(Tiles.EXACT, halo=4)
    await Tiler(spec, "encoder", TileLimits(limit, approximate=False)).run(
        random_images(1, 64, 64), watched
    )
    assert len(seen) > 9
    assert max(seen) <= limit


def test_rows_share_a_run_within_the_limit_alone() -> None:
    """Also where one row of the usual size would exceed it: such rows come in tiles."""
    spec = toy(Tiles.EXACT, halo=4)
    usual = 3 * 16 * 16
    for limit in (8 * usual // 4, 8 * usual, 80 * usual):
        limits = TileLimits(limit, approximate=False)
        assert 8 * batch_elements(spec, "encoder", limits) <= limit
        assert 8 * batch_elements(spec, "decoder_uint8", limits) * 16 <= limit
    assert batch_elements(spec, "encoder", NO_LIMIT) > 1 << 50


async def test_no_tile_is_smaller_than_the_model_takes() -> None:
    seen: list[int] = []

    async def watched(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32]]:
        seen.extend(rows.shape[2:])
        return (encoded(rows),)

    channels, *_ = spatial_spec().data_axes
    sides = (side("height", minimum=24, usual=24), side("width", minimum=24, usual=24))
    spec = spatial_spec(
        data_axes=(channels, *sides), tiles=Tiles.EXACT, activation_bytes=(8.0, 8.0)
    )
    limits = TileLimits(3 * 8 * 32 * 32, approximate=False)
    images = random_images(1, 64, 60)
    (mean,) = await Tiler(spec, "encoder", limits).run(images, watched)
    np.testing.assert_allclose(mean, encoded(images), atol=1e-6)
    assert min(seen) >= 24


@pytest.mark.parametrize(
    ("tiles", "limit", "said"),
    [
        (Tiles.NONE, 3 * 8 * 24 * 24, "cannot be computed in tiles"),
        (Tiles.EXACT, 3 * 8 * 8 * 8, "not enough for one tile with its margin"),
    ],
)
async def test_what_cannot_be_divided_is_refused(tiles: Tiles, limit: int, said: str) -> None:
    tiler = Tiler(toy(tiles, halo=8), "encoder", TileLimits(limit, approximate=False))
    with pytest.raises(ServerTooLargeError, match=said):
        await tiler.run(random_images(1, 64, 64), encode_toy)
