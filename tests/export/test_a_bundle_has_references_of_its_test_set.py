"""The bundle contains the test set's KL and reconstruction error, and the server exports them."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from latens_export.checks import reference as measuring
from latens_export.checks.reference import LEVELS
from latens_export.graphs.splitting import Graphs
from latens_serving.bundle.files import read_manifest
from latens_serving.bundle.schema import BundleError, Reference
from latens_serving.models.loading import load
from latens_serving.models.repository import Repository
from latens_serving.monitoring.model_metrics import ModelCollector
from latens_serving.settings import Settings
from latens_training import checkpoint
from latens_training.data import datasets
from server_process import Server

NATS = 2e-3  # graphs in float32 against the network, summed over 784 pixels


class Nobody:
    """An observer that ignores everything."""

    ran = lost = recomputed = staticmethod(lambda *_: None)


@pytest.fixture
def bundle(model_repository: Path, tmp_path: Path) -> Path:
    """A copy of `mnist-2d`, to be changed."""
    return Path(shutil.copytree(model_repository / "mnist-2d", tmp_path / "mnist-2d")) / "1"


def change(bundle: Path, **fields: Any) -> None:
    document = json.loads((bundle / "bundle.json").read_bytes()) | fields
    given = {name: value for name, value in document.items() if value is not None}
    (bundle / "bundle.json").write_text(json.dumps(given))


def by_torch(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """KL and reconstruction error of each test image, by the network and torch's own formulas."""
    trained = checkpoint.load(run)
    data = trained.config.data
    images = datasets.load(data.dataset, data.data_dir).test.images.float() / 255
    with torch.inference_mode():
        mean, log_var = trained.model.encode(images)
        assert log_var is not None
        posterior = torch.distributions.Normal(mean, (log_var / 2).exp())
        prior = torch.distributions.Normal(0.0, 1.0)
        kl = torch.distributions.kl_divergence(posterior, prior).flatten(1).sum(1)
        logits = trained.model.decode(mean)
        error = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, images, reduction="none"
        ).sum((1, 2, 3))
    return kl.numpy(), error.numpy()


def test_the_exporters_quantiles_are_numpys_on_the_same_images(
    trained_run: Path, model_repository: Path
) -> None:
    reference = read_manifest(model_repository / "mnist-2d" / "1").reference
    assert reference is not None
    assert reference.kl is not None
    kl, error = by_torch(trained_run)
    assert reference.images == len(kl) == 1000
    for spread, nats in ((reference.kl, kl), (reference.reconstruction, error)):
        assert tuple(spread.quantiles) == LEVELS
        expected = np.quantile(nats.astype(np.float64), LEVELS)
        np.testing.assert_allclose(list(spread.quantiles.values()), expected, atol=NATS, rtol=0)
        assert spread.mean == pytest.approx(nats.mean(dtype=np.float64), abs=NATS)


def test_a_large_test_set_is_measured_evenly(
    trained_run: Path, model_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = model_repository / "mnist-2d" / "1"
    data = checkpoint.load(trained_run).config.data
    graphs = Graphs(*((directory / f"{part}.onnx").read_bytes() for part in ("encoder", "decoder")))
    images = datasets.load(data.dataset, data.data_dir).test.images
    contract = read_manifest(directory).spec
    monkeypatch.setattr(measuring, "MOST_IMAGES", 101)
    few = measuring.measure_reference(graphs, contract, images)
    monkeypatch.setattr(measuring, "MOST_IMAGES", 1000)
    chosen = images[np.linspace(0, len(images) - 1, 101).round().astype(np.int64)]
    assert few.images == 101
    assert few == measuring.measure_reference(graphs, contract, chosen)


def test_a_deterministic_model_has_no_kl(model_repository: Path) -> None:
    reference = read_manifest(model_repository / "point" / "1").reference
    assert reference is not None
    assert reference.kl is None
    assert reference.reconstruction.quantiles.keys() == set(LEVELS)


def test_the_server_exports_the_references(server: Server, model_repository: Path) -> None:
    with urllib.request.urlopen(f"http://{server.http_address}/metrics", timeout=20) as answer:
        families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
    means = shown(families["latens_reference_nats"])
    quantiles = shown(families["latens_reference_quantile_nats"])
    count = 0
    for model in ("mnist-2d", "point"):
        reference = read_manifest(model_repository / model / "1").reference
        assert reference is not None
        for quantity, spread in (
            ("kl", reference.kl),
            ("reconstruction", reference.reconstruction),
        ):
            if spread is not None:
                key = (("model", model), ("quantity", quantity), ("version", "1"))
                count += 1
                assert means[key] == spread.mean
                for level, nats in spread.quantiles.items():
                    assert quantiles[(("level", str(level)), *key)] == nats
    assert len(means) == count == 3
    assert len(quantiles) == count * len(LEVELS)


def shown(family: Metric) -> dict[tuple[tuple[str, str], ...], float]:
    return {tuple(sorted(sample.labels.items())): sample.value for sample in family.samples}


async def test_a_bundle_without_references_has_the_means_of_its_training(
    bundle: Path,
) -> None:
    change(bundle, reference=None)
    manifest = read_manifest(bundle)
    assert manifest.reference is None
    models = Repository(
        bundle.parents[1], lambda directory: load(directory, Settings().load_options(), Nobody())
    )
    await models.refresh()
    families = {family.name: family for family in ModelCollector(models).collect()}
    models.close()
    means = {
        sample.labels["quantity"]: sample.value
        for sample in families["latens_reference_nats"].samples
    }
    assert means == {name: manifest.provenance.metrics[name] for name in ("kl", "reconstruction")}
    assert not families["latens_reference_quantile_nats"].samples


@pytest.mark.parametrize(
    ("spread", "said"),
    [
        ({"mean": 1.0, "quantiles": {"0.5": 2.0, "0.05": 3.0}}, "ascend"),
        ({"mean": 1.0, "quantiles": {"1.5": 2.0}}, "less than or equal to 1"),
        ({"mean": "NaN", "quantiles": {}}, "finite"),
    ],
)
def test_an_impossible_reference_is_refused(
    bundle: Path, spread: dict[str, Any], said: str
) -> None:
    change(bundle, reference={"images": 10, "reconstruction": spread})
    with pytest.raises(BundleError, match=said):
        read_manifest(bundle)


def test_a_reference_is_written_and_read_unchanged(model_repository: Path) -> None:
    reference = read_manifest(model_repository / "mnist-2d" / "1").reference
    assert reference is not None
    assert Reference.model_validate_json(reference.model_dump_json()) == reference
