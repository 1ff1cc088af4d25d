"""The map's TSV files include the UMAP coordinates of bundles that have them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from browser import explorer, running_browser
from latens_serving.bundle.files import read_manifest
from latens_serving.bundle.test_embeddings import (
    EMBEDDINGS_FILE,
    embeddings_bytes,
    read_embeddings,
)
from server_process import running_server

if TYPE_CHECKING:
    from playwright.sync_api import Download


def with_coordinates(model: Path) -> np.ndarray:
    """Puts coordinates into the bundle of a model; returns them."""
    bundle = model / "1"
    path = bundle / EMBEDDINGS_FILE
    embeddings = read_embeddings(path.read_bytes(), read_manifest(bundle).spec)
    rows = len(embeddings.means)
    umap = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    content = embeddings_bytes(dataclasses.replace(embeddings, umap=umap))
    path.write_bytes(content)
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    manifest["test_embeddings"] = {"name": path.name, "sha256": digest, "size": len(content)}
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    return umap


def test_a_third_file_holds_them(model_repository: Path, tmp_path: Path) -> None:
    model = shutil.copytree(model_repository / "mnist-2d", tmp_path / "models" / "mnist-2d")
    umap = with_coordinates(model)
    with (
        running_server(tmp_path / "models") as server,
        running_browser() as browser,
        explorer(browser, server.http_address) as page,
    ):
        page.page.goto(page.url)
        page.until_text("#latency", "ms")
        saved: list[Download] = []
        page.page.on("download", lambda download: saved.append(download))
        page.page.click("#map-tsv")
        page.until_holds(lambda: len(saved) == 3, "three files are saved")
        files = {download.suggested_filename: Path(download.path()) for download in saved}
        assert set(files) == {"vectors.tsv", "metadata.tsv", "umap.tsv"}
        np.testing.assert_allclose(np.loadtxt(files["umap.tsv"]), umap, rtol=1e-6)
