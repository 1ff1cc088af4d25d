"""`latens-export --umap` puts UMAP coordinates of the test images' means into the bundle."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from diffusers_models import saved, seeded, vq_model
from latens_export.checks.umap_coordinates import umap_coordinates
from latens_export.cli import main
from latens_serving.bundle.test_embeddings import EMBEDDINGS_FILE

with_umap = pytest.mark.skipif(
    importlib.util.find_spec("umap") is None, reason="umap-learn is not installed"
)


@with_umap
@pytest.mark.filterwarnings("ignore::ImportWarning", "ignore::DeprecationWarning")  # of its imports
def test_a_run_is_exported_with_coordinates_that_keep_neighbours(
    trained_run: Path, tmp_path: Path
) -> None:
    flags = ["--umap", "--atlas-images", "300", "--repository", str(tmp_path), "--name", "mapped"]
    assert main([str(trained_run), *flags]) == 0
    with np.load(tmp_path / "mapped" / "1" / EMBEDDINGS_FILE) as arrays:
        means, umap = arrays["means"], arrays["umap"]
    assert umap.shape == (300, 2)
    assert umap.dtype == np.float32
    assert trustworthiness(means, umap, n_neighbors=10) > 0.9
    assert np.array_equal(umap, umap_coordinates(means)), "the same means, the same coordinates"


@with_umap
def test_a_model_of_codes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = saved(seeded(vq_model), tmp_path / "vq")
    flags = ["--codes", "--umap", "--atlas-images", "50", "--repository", f"{tmp_path}/models"]
    assert main(["diffusers", str(folder), *flags]) == 2
    assert "umap: a model that encodes to codes has no means" in capsys.readouterr().err


def test_too_few_images_are_refused_before_any_work(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--umap", "--atlas-images", "15", "--repository", str(tmp_path / "models")]
    assert main([str(trained_run), *flags]) == 2
    assert "umap: needs more than 15 test images in the bundle, got 15" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_missing_package_is_named_with_its_command(
    trained_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    assert main([str(trained_run), "--umap", "--repository", str(tmp_path / "models")]) == 2
    assert "pip install 'latens-export[umap]'" in capsys.readouterr().err
