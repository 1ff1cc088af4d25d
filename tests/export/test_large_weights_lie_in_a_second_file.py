"""Weights that exceed one ONNX file lie in a second one: verified, confined, and served."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.external_data_helper import set_external_data
from torch import nn

import latens_export
from latens import Client
from latens_export.bundling import BundleOptions
from latens_export.graphs import weights
from latens_serving import Decoder, Encoder
from latens_serving.bundle import files
from latens_serving.bundle.files import read_manifest, verified_graph, verify_files
from latens_serving.bundle.graph import LargeGraph
from latens_serving.bundle.spec import (
    ModelSpec,
    Posterior,
    Prior,
    fixed_image_axes,
    fixed_latent_axes,
)
from latens_serving.engine.errors import EngineError
from latens_serving.engine.external_data import check_external_data
from latens_serving.errors import BundleRefusedError
from server_process import running_server

SHAPE = (1, 16, 16)


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 8))
        decoder = nn.Sequential(
            nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 256), nn.Sigmoid(), nn.Unflatten(1, SHAPE)
        )
    return encoder, decoder


@pytest.fixture
def bundle(
    pair: tuple[nn.Module, nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """As of a network with gigabytes of weights: the bound is lowered."""
    monkeypatch.setattr(weights, "LARGEST_INLINE", 4096)
    spec = ModelSpec(
        data_axes=fixed_image_axes(SHAPE),
        latent_axes=fixed_latent_axes((8,)),
        posterior=Posterior.DETERMINISTIC,
        prior=Prior.NONE,
        tolerance=1e-4,
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, *SHAPE), dtype=torch.uint8, generator=generator)
    options = BundleOptions(byte_graphs=False)
    written = latens_export.write_bundle(
        *pair, spec, images, tmp_path / "models", "large", options=options
    )
    return written.path


def change_record(bundle: Path, content: bytes) -> None:
    """Writes other weights, with the digest and size of those in the manifest."""
    (bundle / "encoder.weights").write_bytes(content)
    path = bundle / "bundle.json"
    document = json.loads(path.read_text())
    record = document["weights"]["encoder"]
    record |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    path.write_text(json.dumps(document))


def test_the_graph_is_small_and_its_weights_are_beside_it(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    assert {name: record.name for name, record in manifest.weights.items()} == {
        "encoder": "encoder.weights",
        "decoder": "decoder.weights",
    }
    assert manifest.encoder.size < 8192 < manifest.weights["encoder"].size
    graph = onnx.load(str(bundle / "encoder.onnx"))  # onnx itself reads both
    onnx.checker.check_model(graph)
    assert sum(len(tensor.raw_data) for tensor in graph.graph.initializer) > 4 * 256 * 64


def test_it_is_served_and_embedded(bundle: Path, pair: tuple[nn.Module, nn.Module]) -> None:
    images = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    with torch.inference_mode():
        mean = pair[0](torch.from_numpy(images)).numpy()
        decoded = pair[1](torch.from_numpy(mean)).numpy()
    with running_server(bundle.parents[1]) as server, Client(server.address) as client:
        np.testing.assert_allclose(client.encode(images).mean, mean, atol=1e-5)
        np.testing.assert_allclose(client.decode(mean).images, decoded, atol=1e-5)
    np.testing.assert_allclose(Encoder(bundle)(images)["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(Decoder(bundle)(mean), decoded, atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "the manifest says"),
        (lambda path: path.write_bytes(b"\1" + path.read_bytes()[1:]), "SHA-256 digest differs"),
        (lambda path: path.unlink(), "No such file"),
    ],
    ids=["cut", "changed", "missing"],
)
def test_damaged_weights_are_refused(bundle: Path, damage, said: str) -> None:
    damage(bundle / "encoder.weights")
    with pytest.raises(BundleRefusedError, match=f"encoder.weights: .*{said}"):
        Encoder(bundle)(np.zeros((1, *SHAPE), np.float32))


def test_weights_beyond_the_memory_are_refused_before_they_are_read(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "available_bytes", lambda: 1000)
    with pytest.raises(BundleRefusedError, match="but only 1000 of memory are available"):
        Encoder(bundle)(np.zeros((1, *SHAPE), np.float32))


def test_other_weights_do_not_pass_the_probe(bundle: Path) -> None:
    content = (bundle / "encoder.weights").read_bytes()
    change_record(bundle, bytes(len(content)))
    with pytest.raises(BundleRefusedError, match="probe: encoder: mean: differs"):
        Encoder(bundle)(np.zeros((1, *SHAPE), np.float32))


def test_a_link_out_of_the_repository_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = bundle / "encoder.weights"
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    with pytest.raises(BundleRefusedError, match="link that leaves the repository"):
        Encoder(bundle)(np.zeros((1, *SHAPE), np.float32))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"location": "../../etc/passwd"}, "another file than encoder.weights"),
        ({"location": "encoder.weights", "offset": 1 << 40}, "beyond the end"),
        ({"location": "encoder.weights", "offset": -1}, "beyond the end"),
        ({"location": "encoder.weights", "length": 1 << 40}, "beyond the end"),
    ],
)
def test_a_graph_that_refers_elsewhere_is_refused(
    bundle: Path, place: dict[str, Any], said: str
) -> None:
    graph = verified_graph(bundle, read_manifest(bundle), "encoder")
    assert isinstance(graph, LargeGraph)
    check_external_data(graph, graph.file, len(graph.weights))
    changed = onnx.load_from_string(bytes(graph))
    tensor = next(one for one in changed.graph.initializer if one.external_data)
    tensor.raw_data = b""
    set_external_data(tensor, **place)
    content = changed.SerializeToString()
    with pytest.raises(EngineError, match=said):
        check_external_data(content, graph.file, len(graph.weights))


def test_weights_of_no_graph_are_refused(bundle: Path) -> None:
    path = bundle / "bundle.json"
    document = json.loads(path.read_text())
    document["weights"]["other"] = document["weights"]["encoder"]
    path.write_text(json.dumps(document))
    with pytest.raises(BundleRefusedError, match="weights: there is no graph other"):
        Encoder(bundle)
