"""`latens_serving.Encoder` and `Decoder`: numpy in, numpy out, in any process."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bad_bundles import tampered
from latens import Client
from latens_serving import Decoder, Encoder
from latens_serving.errors import BundleRefusedError, InvalidInputError
from server_process import Server
from toy_bundles import decoded, encoded, random_images, write_spatial

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (150, 1, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def encoder(model_repository: Path) -> Encoder:
    return Encoder(model_repository / "mnist-2d", device="cpu")


def test_images_become_the_latents_that_a_server_gives(encoder: Encoder, server: Server) -> None:
    floats = BYTES.astype(np.float32) / np.float32(255)
    decoder = Decoder(encoder._directory, device="cpu")
    with Client(server.address) as client:
        for images in (BYTES, floats):
            served = client.encode(images, model="mnist-2d")
            embedded = encoder(images)
            assert served.log_var is not None
            assert set(embedded) == {"mean", "log_var"}
            np.testing.assert_allclose(embedded["mean"], served.mean, atol=1e-5)
            np.testing.assert_allclose(embedded["log_var"], served.log_var, atol=1e-5)
            assert embedded["mean"].dtype == np.float32
        served = client.encode(BYTES, model="mnist-2d")
        decoded = client.decode(served.mean, model="mnist-2d").images
    np.testing.assert_allclose(decoder(served.mean), decoded, atol=1e-5)
    assert decoder(served.mean, dtype="uint8").dtype == np.uint8


def test_a_row_does_not_depend_on_its_company(encoder: Encoder) -> None:
    whole = encoder(BYTES)["mean"]
    for rows in (slice(0, 1), slice(3, 10), slice(60, 131)):
        np.testing.assert_array_equal(encoder(BYTES[rows])["mean"], whole[rows])
    np.testing.assert_array_equal(encoder(BYTES[::-1])["mean"], whole[::-1])
    assert encoder(BYTES[:0])["mean"].shape == (0, 2)


def test_a_pickled_copy_gives_the_same_rows(encoder: Encoder) -> None:
    copy = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(copy(BYTES)["log_var"], encoder(BYTES)["log_var"])
    assert len(pickle.dumps(encoder)) < 100_000


def test_a_deterministic_model_has_no_log_variance(model_repository: Path) -> None:
    assert set(Encoder(model_repository / "point", device="cpu")(BYTES)) == {"mean"}


def test_the_newest_version_is_taken_and_a_damaged_one_refused(
    model_repository: Path, tmp_path: Path
) -> None:
    model = tmp_path / "mnist-2d"
    shutil.copytree(model_repository / "mnist-2d", model)
    tampered(model / "1")
    with pytest.raises(BundleRefusedError, match=r"encoder\.onnx"):
        Encoder(model, device="cpu")(BYTES)
    with pytest.raises(BundleRefusedError, match="no such model"):
        Encoder(tmp_path / "absent")
    (model / "10").mkdir()
    with pytest.raises(BundleRefusedError, match=r"10: bundle.json"):
        Encoder(model)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (BYTES[:, :, :14], "height: expected 28, got 14"),
        (BYTES.astype(np.int64), "expected uint8 or floats, got int64"),
        (BYTES.astype(np.float32), r"expected floats in 0\.\.1"),
        (np.full((2, 1, 28, 28), np.nan), r"expected floats in 0\.\.1"),
    ],
)
def test_other_arrays_are_refused(encoder: Encoder, images: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        encoder(images)


def test_other_latents_and_settings_are_refused(model_repository: Path) -> None:
    decoder = Decoder(model_repository / "mnist-2d", device="cpu")
    with pytest.raises(InvalidInputError, match="finite"):
        decoder(np.full((1, 2), np.inf))
    with pytest.raises(InvalidInputError, match="features: expected 2, got 3"):
        decoder(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="expected one of auto, cpu, cuda, got 'tpu'"):
        Encoder(model_repository / "mnist-2d", device="tpu")
    with pytest.raises(ValueError, match="expected 1 or more"):
        Encoder(model_repository / "mnist-2d", batch_rows=0)


def test_importing_the_package_loads_no_engine() -> None:
    code = "import latens_serving, sys; print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_model_of_free_sizes_takes_each_size_that_it_allows(tmp_path: Path) -> None:
    write_spatial(tmp_path / "models", "spatial")
    bundle = tmp_path / "models" / "spatial"
    encoder, decoder = Encoder(bundle, device="cpu"), Decoder(bundle, device="cpu")
    assert encoder.image_shape == (3, 16, 16)
    for height, width in ((8, 8), (16, 32), (64, 12)):
        images = random_images(5, height, width)
        mean = encoder(images)["mean"]
        np.testing.assert_allclose(mean, encoded(images), atol=1e-5)
        np.testing.assert_allclose(decoder(mean), decoded(mean), atol=1e-5)
    with pytest.raises(InvalidInputError, match="height: expected a multiple of 4"):
        encoder(random_images(1, 18, 16))
