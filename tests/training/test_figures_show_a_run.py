"""The figures of a run exist, are correct, and suit every kind of model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latens_training.checkpoint import Checkpoint
from latens_training.config import DataConfig, LossConfig, ModelConfig, RunConfig
from latens_training.data.mnist import load_mnist
from latens_training.data.types import Dataset, Split
from latens_training.figures import canvas, paths, tiles, write_all
from latens_training.figures.scatter import principal_components
from latens_training.figures.subject import Subject, encode, observe
from latens_training.models.build import build
from latens_training.runs.record import RunRecord

EVERY_PICTURE = {
    "scatter.png", "latents.log", "manifold.png", "traversals.png", "reconstructions.png",
    "samples.png", "interpolations.png", "loss.png", "units.png", "walk.gif",
}  # fmt: skip


def checkpoint_of(
    run: Path, architecture: str, latent_size: int, shape: tuple[int, int, int]
) -> Checkpoint:
    torch.manual_seed(0)
    config = RunConfig(
        data=DataConfig(dataset="mnist"),
        model=ModelConfig(architecture=architecture, latent_size=latent_size, hidden=(32,)),
        loss=LossConfig(beta=1.0),
    )
    model = build(config.model, shape).eval()
    return Checkpoint(run, model, RunRecord(config=config, image_shape=shape))


def random_images(count: int, shape: tuple[int, int, int], labelled: bool = True) -> Dataset:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator) if labelled else None
    split = Split(images, labels)
    return Dataset("random", split, split)


def write_history(run: Path) -> None:
    records = [{"epoch": e, "train_loss": 200.0 / e, "test_loss": 210.0 / e} for e in (1, 2, 3)]
    run.mkdir(parents=True, exist_ok=True)
    (run / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    whole = load_mnist(None)
    assert whole.test.labels is not None
    part = Split(whole.test.images[:300], whole.test.labels[:300])
    return Dataset("mnist", part, part)


def is_a_picture(path: Path) -> bool:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    return pixels.shape[0] > 100 and len(np.unique(pixels)) > 8


def test_a_run_with_two_coordinates_has_every_figure(tmp_path: Path, mnist: Dataset) -> None:
    write_history(tmp_path)
    checkpoint = checkpoint_of(tmp_path, "vae-mlp", 2, (1, 28, 28))
    written = write_all(checkpoint, mnist, tmp_path / "figures")
    assert {path.name for path in written} == EVERY_PICTURE
    assert all(is_a_picture(path) for path in written if path.suffix != ".log")


@pytest.mark.parametrize(
    ("architecture", "latent_size", "shape", "labelled"),
    [
        ("ae-mlp", 2, (1, 28, 28), True),
        ("ae-mlp", 5, (3, 20, 31), False),
        ("vae-mlp", 1, (1, 28, 28), True),
        ("vae-mlp", 1, (3, 9, 40), False),
        ("vae-mlp", 53, (3, 64, 72), True),
        ("vae-conv", 3, (1, 28, 28), False),
    ],
)
def test_every_kind_of_model_and_image_has_its_figures(
    tmp_path: Path, architecture: str, latent_size: int, shape: tuple[int, int, int], labelled: bool
) -> None:
    checkpoint = checkpoint_of(tmp_path, architecture, latent_size, shape)
    written = write_all(checkpoint, random_images(40, shape, labelled), tmp_path / "figures")
    left_out = {"loss.png"} if latent_size == 2 else {"loss.png", "manifold.png"}
    assert {path.name for path in written} == EVERY_PICTURE - left_out
    assert all(path.stat().st_size > 0 for path in written)


def test_a_single_test_image_is_enough(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(tmp_path, "ae-mlp", 2, (1, 8, 8))
    written = write_all(checkpoint, random_images(1, (1, 8, 8)), tmp_path / "figures")
    assert len(written) == len(EVERY_PICTURE) - 1


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, mnist: Dataset) -> None:
    checkpoint = checkpoint_of(tmp_path, "vae-mlp", 2, (1, 28, 28))
    first = write_all(checkpoint, mnist, tmp_path / "a")
    second = write_all(checkpoint, mnist, tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_the_log_has_a_line_of_label_and_means_per_image(tmp_path: Path, mnist: Dataset) -> None:
    checkpoint = checkpoint_of(tmp_path, "vae-mlp", 2, (1, 28, 28))
    write_all(checkpoint, mnist, tmp_path)
    log = np.loadtxt(tmp_path / "latents.log", dtype=np.float64)
    means, _ = encode(checkpoint.model, mnist.test.images.numpy())
    assert (tmp_path / "latents.log").read_text().startswith("7.0 ")
    assert mnist.test.labels is not None
    np.testing.assert_array_equal(log[:, 0], mnist.test.labels.numpy())
    np.testing.assert_allclose(log[:, 1:], means, rtol=1e-7)


class _Brightness(torch.nn.Module):
    """Logits that depend on one coordinate alone, for all pixels alike."""

    def __init__(self, coordinate: int) -> None:
        super().__init__()
        self.coordinate = coordinate

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return latents[:, self.coordinate].reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)


@pytest.mark.parametrize(("coordinate", "axis"), [(0, 1), (1, 0)])
def test_on_the_plane_z1_grows_to_the_right_and_z2_upwards(
    tmp_path: Path, coordinate: int, axis: int
) -> None:
    checkpoint = checkpoint_of(tmp_path, "vae-mlp", 2, (1, 8, 8))
    checkpoint.model.decoder = _Brightness(coordinate)
    write_all(checkpoint, random_images(9, (1, 8, 8)), tmp_path)
    pixels = np.asarray(Image.open(tmp_path / "manifold.png").convert("L"))
    left, top = canvas.MARGIN + 80, canvas.HEADER
    places = np.arange(21) * 56 + 28
    grid = pixels[top + places][:, left + places]
    rising = np.rint(255 / (1 + np.exp(-np.linspace(-3, 3, 21))))
    found = grid[0] if axis == 1 else grid[::-1, 0]
    np.testing.assert_allclose(found, rising, atol=1)
    assert (grid == (grid[:1] if axis == 1 else grid[:, :1])).all()


def subject_with(means: np.ndarray, log_vars: np.ndarray | None) -> Subject:
    model = build(ModelConfig(latent_size=means.shape[1]), (1, 4, 4))
    images = np.zeros((len(means), 1, 4, 4), np.uint8)
    return Subject(model, images, None, means, log_vars, "a model")


def test_coordinates_are_sorted_by_their_kl() -> None:
    generator = np.random.default_rng(0)
    spread = np.array([0.05, 2.0, 0.0, 1.0], np.float32)
    means = generator.standard_normal((500, 4)).astype(np.float32) * spread
    subject = subject_with(means, np.log(1 / (1 + spread**2))[None].repeat(500, 0))
    assert subject.order.tolist() == [1, 3, 0, 2]
    assert subject.active.tolist() == [False, True, False, True]
    posterior = torch.distributions.Normal(
        torch.tensor(subject.means), torch.tensor(subject.log_vars).mul(0.5).exp()
    )
    kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    assert subject.unit_kl is not None
    np.testing.assert_allclose(subject.unit_kl, kl.mean(0).numpy(), atol=1e-5)


def test_without_a_prior_the_codes_own_spread_is_scanned() -> None:
    means = np.random.default_rng(0).normal(5, 2, (400, 3)).astype(np.float32)
    subject = subject_with(means, None)
    placed = subject.place(np.full((1, 3), 3.0))
    np.testing.assert_allclose(placed[0], np.quantile(means, 0.99, axis=0), rtol=1e-6)
    middle = subject.place(np.zeros((1, 3)))
    np.testing.assert_allclose(middle[0], np.median(means, axis=0), rtol=1e-6)


def test_observing_encodes_in_the_order_of_the_images(mnist: Dataset) -> None:
    model = checkpoint_of(Path(), "vae-mlp", 2, (1, 28, 28)).model
    images = mnist.test.images.numpy()
    subject = observe(model, images, None, "a model")
    with torch.inference_mode():
        mean, log_var = model.encoder(mnist.test.images[7:8].float() / 255)
    np.testing.assert_allclose(subject.means[7], mean[0], atol=1e-5)
    assert subject.log_vars is not None
    np.testing.assert_allclose(subject.log_vars[7], log_var[0], atol=1e-5)


def test_principal_components_carry_the_variance_in_falling_order() -> None:
    generator = np.random.default_rng(0)
    means = (generator.standard_normal((400, 6)) * [1, 4, 2, 1, 1, 1]).astype(np.float32)
    points, shares = principal_components(means, 2)
    values = np.linalg.eigvalsh(np.cov(means.astype(np.float64), rowvar=False))[::-1]
    np.testing.assert_allclose(points.var(axis=0, ddof=1), values[:2], rtol=1e-6)
    np.testing.assert_allclose(shares, values[:2] / values.sum(), rtol=1e-6)


def test_codes_that_do_not_vary_have_components_without_variance() -> None:
    points, shares = principal_components(np.ones((5, 3), np.float32), 2)
    assert not points.any()
    assert shares.tolist() == [0, 0]


def test_both_paths_keep_their_ends_and_the_arc_its_radius() -> None:
    start, end = np.array([2.0, 0.0, 0.0]), np.array([0.0, 0.0, 2.0])
    shares = np.linspace(0, 1, 9)
    for between in (paths.linear, paths.spherical):
        path = between(start, end, shares)
        np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(paths.spherical(start, end, shares), axis=1), 2)
    for odd in (-start, start, np.zeros(3)):
        assert np.isfinite(paths.spherical(start, odd, shares)).all()


def test_tiles_are_arranged_by_rows_and_small_ones_are_enlarged_by_an_integer() -> None:
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * 40
    pixels = tiles.scaled(tiles.to_pixels(np.broadcast_to(images, (6, 1, 5, 3))), 12)
    assert pixels.shape == (6, 10, 6, 1)
    sheet = tiles.sheet(pixels, 4, gap=1)
    assert sheet.shape == (21, 27, 1)
    assert sheet[0, 7, 0] == 40
    assert sheet[11, 0, 0] == 160
    assert sheet[0, 6, 0] == sheet[20, 26, 0] == 255


def test_colour_stays_colour_and_large_tiles_shrink() -> None:
    images = np.zeros((2, 3, 100, 50), np.float32)
    images[:, 0] = 1.0
    pixels = tiles.scaled(tiles.to_pixels(images), 40)
    assert pixels.shape == (2, 40, 20, 3)
    assert (pixels == [255, 0, 0]).all()


def test_figures_need_no_pyplot_and_import_matplotlib_late(tmp_path: Path) -> None:
    code = (
        "import sys, latens_training.figures as f; assert 'matplotlib' not in sys.modules;"
        "from latens_training.figures import canvas; from pathlib import Path;"
        "canvas.save(canvas.new_figure(900, 300, 't', 's'), Path(sys.argv[1]));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    picture = tmp_path / "picture.png"
    subprocess.run([sys.executable, "-c", code, str(picture)], check=True, timeout=120)
    assert picture.stat().st_size > 0
