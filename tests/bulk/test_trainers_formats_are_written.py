"""The npz files that sd-scripts reads, of colour pictures of several sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bulk_cases import array_of, rows_of, run
from command_line import ok
from grid_bundle import IMAGE, write_grid_bundle
from latens import pictures
from latens_bulk import LatentDataset
from latens_serving import Encoder

SIZES = [(16, 24), (32, 48), (40, 40), (20, 60), (16, 24), (33, 21)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of these sizes, height and width."""
    generator = np.random.default_rng(1)
    root = tmp_path / "photos"
    (root / "a").mkdir(parents=True)
    for number, size in enumerate(SIZES):
        pixels = generator.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(root / "a" / f"photo.{number}.png")
    return root


def fitted(photos: Path, how: pictures.Fit) -> np.ndarray:
    return np.stack(
        [
            pictures.fitted(pictures.read(photos / "a" / f"photo.{number}.png"), *IMAGE[1:], how)
            for number in range(len(SIZES))
        ]
    )


@pytest.mark.parametrize("suffix", ["", "_2x3"])
def test_sd_scripts_finds_its_arrays(
    suffix: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_grid_bundle(tmp_path / "models" / "grid")
    images = fitted(photos, "crop")
    direct, flipped = (
        Encoder(bundle, device="cpu")(batch)["mean"] for batch in (images, images[..., ::-1])
    )
    output = tmp_path / "out"
    options = ["--bundle", bundle, "--fit", "crop", "--mirror", "--shard-rows", 4]
    options += ["--format", "sd-scripts-sized" if suffix else "sd-scripts"]
    ok(run(capsys, "encode", photos, output, *options))
    for number, (height, width) in enumerate(SIZES):
        with np.load(output / "a" / f"photo.{number}.npz") as arrays:
            np.testing.assert_array_equal(arrays[f"latents{suffix}"], direct[number])
            np.testing.assert_array_equal(arrays[f"latents_flipped{suffix}"], flipped[number])
            assert arrays[f"original_size{suffix}"].tolist() == [width, height]
            left, top, right, bottom = arrays[f"crop_ltrb{suffix}"].tolist()
        assert (right - left, bottom - top) == (24, 16)
        scale = max(16 / height, 24 / width)
        assert (left, top) == (
            (round(width * scale) - 24) // 2,
            (round(height * scale) - 16) // 2,
        )
    ok(run(capsys, "verify", output))
    (output / "a" / "photo.3.npz").unlink()
    broken = run(capsys, "verify", output)
    assert broken.code == 5
    assert "a/photo.3.npz: missing" in broken.err


@pytest.mark.parametrize(("family", "suffix"), [("sd", ""), ("sdxl", ""), ("flux", "_2x3")])
def test_newer_versions_of_sd_scripts_find_their_names(
    family: str, suffix: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_grid_bundle(tmp_path / "models" / "grid")
    output = tmp_path / "out"
    options = ["--bundle", bundle, "--fit", "crop", "--format", f"sd-scripts-{family}"]
    ok(run(capsys, "encode", photos, output, *options))
    for number, (height, width) in enumerate(SIZES):
        name = f"photo.{number}_{width:04d}x{height:04d}_{family}.npz"
        with np.load(output / "a" / name) as arrays:
            assert arrays[f"original_size{suffix}"].tolist() == [width, height]
            assert arrays[f"latents{suffix}"].shape == (4, 2, 3)
    ok(run(capsys, "verify", output))
    latents = LatentDataset(output)
    assert latents.column("key") == [f"a/photo.{number}" for number in range(len(SIZES))]


def test_two_images_of_one_name_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_grid_bundle(tmp_path / "models" / "grid")
    with Image.open(photos / "a" / "photo.0.png") as picture:
        picture.save(photos / "a" / "photo.0.jpg")
    options = ["--bundle", bundle, "--fit", "crop", "--format", "sd-scripts"]
    outcome = run(capsys, "encode", photos, tmp_path / "out", *options)
    assert outcome.code == 5
    assert "photo.0.png: another image of this folder would be a/photo.0.npz" in outcome.err


def test_grids_are_stored_with_their_shape(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_grid_bundle(tmp_path / "models" / "grid")
    for how in ("pad", "resize"):
        options = ["--bundle", bundle, "--fit", how]
        ok(run(capsys, "encode", photos, tmp_path / how, *options))
        table = rows_of(tmp_path / how)
        direct = Encoder(bundle, device="cpu")(fitted(photos, how))
        stored = array_of(table, "mean").reshape(-1, 4, 2, 3)
        np.testing.assert_array_equal(stored, direct["mean"])
        assert json.loads(table.schema.field("mean").metadata[b"shape"]) == [4, 2, 3]
        rules = json.loads(table.schema.metadata[b"latens"])["preprocessing"]
        assert (rules["fit"], rules["resampling"], rules["colour"]) == (how, "lanczos", "rgb")
