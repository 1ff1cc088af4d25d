"""Test embeddings are optional in a bundle, verified when it is loaded, and optional in exports."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latens_export.cli import main as export
from latens_serving.bundle.files import read_manifest
from latens_serving.bundle.schema import BundleError
from latens_serving.bundle.test_embeddings import (
    EMBEDDINGS_FILE,
    Embeddings,
    embeddings_bytes,
    read_embeddings,
)
from latens_serving.errors import BundleRefusedError
from model_folders import load_bundle


@pytest.fixture
def bundle(model_repository: Path, tmp_path: Path) -> Path:
    """A copy of `mnist-2d`, to be changed."""
    return Path(shutil.copytree(model_repository / "mnist-2d", tmp_path / "mnist-2d")) / "1"


def rewrite(bundle: Path, content: bytes | None) -> None:
    """Writes other test embeddings, or none, and a manifest that says so."""
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    if content is None:
        (bundle / EMBEDDINGS_FILE).unlink()
        del manifest["test_embeddings"]
    else:
        (bundle / EMBEDDINGS_FILE).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        manifest["test_embeddings"] = {
            "name": EMBEDDINGS_FILE,
            "sha256": digest,
            "size": len(content),
        }
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def test_the_means_are_those_of_the_encoder(bundle: Path) -> None:
    model = load_bundle(bundle)
    embeddings = model.test_embeddings
    assert embeddings is not None
    assert embeddings.labels is not None
    assert len(embeddings.images) == len(embeddings.means) == len(embeddings.labels)
    assert 100 <= len(embeddings.images) <= 2000
    assert set(embeddings.labels) == set(range(10))
    with np.load(bundle / "probe.npz") as probe:  # whose first image is the test set's first
        assert np.array_equal(
            embeddings.images[0], (probe["images"][0] * 255).round().astype(np.uint8)
        )
        np.testing.assert_allclose(embeddings.means[0], probe["mean"][0], atol=1e-4)


def test_a_bundle_without_them_is_served(bundle: Path) -> None:
    rewrite(bundle, None)
    assert load_bundle(bundle).test_embeddings is None


def test_the_exporter_omits_them_on_request(trained_run: Path, tmp_path: Path) -> None:
    assert export([str(trained_run), "--repository", str(tmp_path), "--atlas-images", "0"]) == 0
    (bundle,) = tmp_path.glob("*/1")
    assert read_manifest(bundle).test_embeddings is None
    assert not (bundle / EMBEDDINGS_FILE).exists()


def test_changed_ones_are_refused(bundle: Path) -> None:
    content = (bundle / EMBEDDINGS_FILE).read_bytes()
    (bundle / EMBEDDINGS_FILE).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleRefusedError, match="SHA-256"):
        load_bundle(bundle)


def blank(rows: int = 3) -> dict[str, Any]:
    return {
        "images": np.zeros((rows, 1, 28, 28), np.uint8),
        "means": np.zeros((rows, 2), np.float32),
        "labels": np.zeros(rows, np.int64),
    }


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("images", np.zeros((3, 1, 28, 27), np.uint8)),
        ("images", np.zeros((2, 1, 28, 28), np.uint8)),
        ("images", np.zeros((3, 1, 28, 28), np.float32)),
        ("means", np.zeros((3, 5), np.float32)),
        ("means", np.full((3, 2), np.nan, np.float32)),
        ("labels", np.zeros(4, np.int64)),
        ("umap", np.zeros((3, 3), np.float32)),
        ("umap", np.zeros((3, 2), np.float64)),
        ("umap", np.full((3, 2), np.inf, np.float32)),
    ],
)
def test_those_of_another_model_are_refused(
    bundle: Path, name: str, array: np.ndarray[Any, Any]
) -> None:
    contract = read_manifest(bundle).spec
    with pytest.raises(BundleError, match=f"test embeddings: {name}"):
        read_embeddings(embeddings_bytes(Embeddings(**(blank() | {name: array}))), contract)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_other_content_is_refused(bundle: Path, content: bytes) -> None:
    with pytest.raises(BundleError, match="test embeddings"):
        read_embeddings(content, read_manifest(bundle).spec)


def test_labels_are_optional(bundle: Path) -> None:
    embeddings = Embeddings(**(blank() | {"labels": None}))
    assert read_embeddings(embeddings_bytes(embeddings), read_manifest(bundle).spec).labels is None
