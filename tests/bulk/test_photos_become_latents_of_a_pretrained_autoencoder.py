"""Colour photos of several sizes, encoded by TAEF2: the same rows as by hand, in every block.

LATENS_TEST_PHOTOS says how many; without it the test is skipped, since each takes a whole network
a fifth of a second: `LATENS_TEST_PHOTOS=2000 pytest tests/bulk/test_photos*`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from bulk_cases import array_of, rows_of, run
from command_line import ok
from latens import pictures
from latens_export.cli import main
from latens_serving import Encoder
from pretrained_weights import TAEF2, weights_of

COUNT = int(os.environ.get("LATENS_TEST_PHOTOS", "0"))
SIZE = 64


def write_photos(root: Path) -> list[Path]:
    """Crops of the photos that scikit-learn ships, of 64 to 160 pixels a side."""
    photos, generator = load_sample_images().images, np.random.default_rng(0)
    root.mkdir()
    paths = []
    for number in range(COUNT):
        photo = photos[number % len(photos)]
        height, width = generator.integers(SIZE, 160, 2)
        top = generator.integers(0, photo.shape[0] - height)
        left = generator.integers(0, photo.shape[1] - width)
        paths.append(root / f"{number:05d}.png")
        Image.fromarray(photo[top : top + height, left : left + width]).save(paths[-1])
    return paths


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    weights = weights_of("taef2.safetensors")
    (tmp_path / "taef2.py").write_text(TAEF2)
    (tmp_path / "card.yaml").write_text("graph_range: [0, 1]\n")
    arguments = ["module", f"{tmp_path}/taef2.py:TAEF2", "--weights", str(weights)]
    arguments += ["--card", str(tmp_path / "card.yaml"), "--opset=18", "--no-byte-graphs"]
    assert main([*arguments, "--repository", str(tmp_path / "models"), "--name", "taef2"]) == 0
    return tmp_path / "models" / "taef2"


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not COUNT, reason="LATENS_TEST_PHOTOS is not set: how many photos to encode")
def test_photos_equal_direct_encoding(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_photos(tmp_path / "photos")
    options = ["--bundle", bundle, "--fit", "crop", "--shard-rows", max(5, COUNT // 8)]
    ok(run(capsys, "encode", tmp_path / "photos", tmp_path / "out", *options))
    ok(run(capsys, "verify", tmp_path / "out"))
    encoder = Encoder(bundle, device="cpu")
    _, height, width = encoder.image_shape
    images = np.stack(
        [pictures.fitted(pictures.read(path), height, width, "crop") for path in paths]
    )
    table = rows_of(tmp_path / "out")
    assert table.column("key").to_pylist() == [path.name for path in paths]
    expected = encoder(images)["mean"]
    found = array_of(table, "mean").reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)
