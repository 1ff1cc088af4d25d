"""The explorer shows colour models with spatial latents, and says which models it cannot show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser

from browser import Explorer, explorer, running_browser
from diffusers_models import autoencoder_tiny, saved, seeded, vq_model
from latens import Client
from latens_export.cli import main
from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.test_embeddings import LARGEST_EMBEDDINGS, read_embeddings
from server_process import Server, running_server

SIDE = 32
PICTURES = 24


def pictures(folder: Path) -> Path:
    """Coloured discs on coloured ground."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    for number in range(PICTURES):
        ground, disc = generator.integers(256, size=(2, 3))
        left, top = generator.integers(8, SIDE - 8, size=2)
        inside = np.hypot(across - left, down - top) < 7
        pixels = np.where(inside[..., None], disc, ground).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spatial")
    target = ["--repository", f"{folder}/models", "--opset", "20"]
    tiny = saved(seeded(autoencoder_tiny), folder / "tiny")
    card = folder / "card.yaml"
    card.write_text(f"data: {{channels: 3, height: {SIDE}, width: {SIDE}}}\n")
    images = ["--images", str(pictures(folder / "pictures")), "--atlas-images", "100"]
    more = ["--card", str(card), "--fit-prior", f"{folder}/pictures"]
    assert main(["diffusers", str(tiny), "--name", "tiny", *target, *images, *more]) == 0
    codes = saved(seeded(vq_model), folder / "vq")
    assert main(["diffusers", str(codes), "--name", "codes", "--codes", *target]) == 0
    return folder / "models"


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with running_server(repository, "--default-model=tiny") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Explorer]:
    with explorer(browser, server.http_address) as opened:
        opened.page.goto(opened.url)
        opened.until_text("#latency", "ms")
        opened.until_text("#axes", "two principal axes of 64")
        yield opened


def test_principal_axes_are_computed_at_export(repository: Path) -> None:
    bundle = repository / "tiny" / "1"
    manifest = read_manifest(bundle)
    assert manifest.test_embeddings is not None
    content = verified_bytes(bundle, manifest.test_embeddings, LARGEST_EMBEDDINGS)
    embeddings = read_embeddings(content, manifest.spec)
    assert embeddings.axes is not None
    assert embeddings.spreads is not None
    rows = embeddings.means.reshape(PICTURES, -1).astype(np.float64)
    rows -= rows.mean(0)
    axes = embeddings.axes.reshape(len(embeddings.axes), -1)
    _, singular, directions = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-4)
    spreads = singular[: len(axes)] / np.sqrt(PICTURES)
    np.testing.assert_allclose(embeddings.spreads, spreads, rtol=1e-3)
    apart = singular[:7] / singular[1:8] > 1.05  # an axis is defined where its variance stands out
    for axis, direction in zip(axes[:7][apart], directions[:7][apart], strict=True):
        assert abs(axis @ direction) > 0.99


def test_the_map_is_the_plane_of_two_principal_axes(page: Explorer) -> None:
    page.until_ink("#here", lambda ink: ink > 100)
    page.until_count("#neighbours canvas", 7)
    point = page.page.inner_text("#where")
    page.page.keyboard.press("ArrowRight")
    page.until_holds(lambda: page.page.inner_text("#where") != point, "the point moves")


def test_sliders_move_along_the_principal_axes(page: Explorer) -> None:
    page.page.click("#tab-sliders")
    page.until_count(".unit", 8)
    first = page.page.locator(".unit").first
    assert "axis 1" in first.inner_text()
    picture = page.picture()
    first.locator(".film button").last.click()
    page.until_changed("#here", picture)
    assert first.locator("output").inner_text().startswith("+")


def test_an_image_is_judged_without_nats(page: Explorer) -> None:
    page.page.click("#tab-image")
    page.page.click("#test-image")
    page.until_text(".verdict", "mean square")
    assert "nats" not in page.text(".verdict")
    assert "log p(x)" not in page.text(".verdict")
    for part in page.page.locator(".trio canvas").all():
        page.until_holds(part.bounding_box, "image, reconstruction and error are drawn")


def test_two_images_are_mixed_by_a_mask(page: Explorer, server: Server) -> None:
    page.page.click("#pin")
    page.page.click("#tab-image")
    page.page.click("#test-image")
    page.until_text("#panel-image", "paint with Mask")
    page.page.click("#brush-mask")
    page.drag(page.spot(0.1, 0.1, ".paper"), page.spot(0.45, 0.1, ".paper"))
    page.drag(page.spot(0.45, 0.4, ".paper"), page.spot(0.1, 0.4, ".paper"))
    picture = page.picture()
    page.page.click("#splice-A")
    page.until_changed("#here", picture)


def test_models_without_a_map_are_not_offered(page: Explorer, server: Server) -> None:
    with Client(server.address) as client:
        assert {model.name for model in client.models().models} == {"tiny", "codes"}
    options = page.page.locator("#model option").all_inner_texts()
    assert [text.split()[0] for text in options] == ["tiny"]


def test_a_server_without_any_says_why(browser: Browser, repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "codes", tmp_path / "models" / "codes")
    with (
        running_server(tmp_path / "models") as server,
        explorer(browser, server.http_address) as page,
    ):
        page.page.goto(page.url)
        page.until_text("#notice", "codes has codes, which have no map")
