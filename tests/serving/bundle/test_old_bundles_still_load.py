"""Bundles of schema 1 load and serve, and are known in the form of the present schema.

`schema-1.zip` was written by `latens_export.write_bundle` before there was a schema 2: the two
modules of `tests/export/test_a_bundle_is_written_from_any_two_modules.py` with five test
embeddings, statistics of three latent coordinates and the attribute `bold`.
"""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latens_serving.bundle.files import manifest_json, read_manifest, verify_files
from latens_serving.bundle.schema import BundleError
from latens_serving.bundle.spec import Likelihood, Posterior, Prior
from model_folders import load_bundle


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).parent / "schema-1.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "old" / "1"


def changed(directory: Path, **facts: Any) -> Path:
    path = directory / "bundle.json"
    document = json.loads(path.read_bytes())
    assert document["schema_version"] == 1
    document["contract"].update(facts)
    path.write_text(json.dumps(document))
    return directory


def test_an_old_manifest_is_read_as_the_present_schema_says_it(directory: Path) -> None:
    manifest = read_manifest(directory)
    verify_files(directory, manifest)
    spec = manifest.spec
    assert (spec.data_shape, spec.latent_shape) == ((1, 6, 6), (3,))
    assert not spec.is_free
    assert (spec.posterior, spec.prior) == (Posterior.DIAGONAL_GAUSSIAN, Prior.STANDARD_NORMAL)
    assert (spec.likelihood, spec.sigma, spec.beta) == (Likelihood.BERNOULLI, 0.5**0.5, 1)
    assert (spec.architecture, spec.dataset, spec.tolerance) == ("own", "noise", 1e-4)
    assert [unit.kl for unit in spec.latent_dims] == [1.5] * 3
    assert spec.attributes == {"bold": (0.5, 0, -1)}
    assert manifest.test_embeddings is not None
    assert manifest.reference is not None


def test_an_old_manifest_is_written_in_the_present_schema(directory: Path) -> None:
    manifest = read_manifest(directory)
    (directory / "bundle.json").write_bytes(manifest_json(manifest))
    assert json.loads((directory / "bundle.json").read_bytes())["schema_version"] == 2
    assert read_manifest(directory) == manifest


def test_an_old_bundle_answers_as_its_probe_says(directory: Path) -> None:
    model = load_bundle(directory)
    probe = model.probe
    assert probe is not None
    try:
        encoded = asyncio.run(model.encode(probe.images, None))
        decoded = asyncio.run(model.decode(probe.latents, None))
    finally:
        model.close()
    np.testing.assert_allclose(encoded.mean, probe.mean, atol=1e-4)
    assert encoded.log_var is not None
    np.testing.assert_allclose(decoded, probe.decoded, atol=1e-4)
    assert model.test_embeddings is not None
    assert len(model.test_embeddings.images) == 5


@pytest.mark.parametrize("posterior", ["point", "deterministic"])
def test_an_old_deterministic_model_has_no_prior(directory: Path, posterior: str) -> None:
    spec = read_manifest(changed(directory, posterior=posterior)).spec
    assert (spec.posterior, spec.prior) == (Posterior.DETERMINISTIC, Prior.NONE)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"latent_shape": []}, "contract.latent_shape"),
        ({"image_shape": [1, 0, 28]}, "contract.image_shape"),
        ({"tolerance": 0}, "contract.tolerance"),
        ({"tolerance": 0.02}, "float32 .*at most 0.01"),
        ({"precision": "int3"}, "got 'int3'"),
        ({"attributes": {"bold": [1]}}, "attributes.bold: expected 3 values"),
        ({"surprise": 1}, "contract.surprise"),
    ],
)
def test_a_wrong_old_manifest_is_refused(directory: Path, facts: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        read_manifest(changed(directory, **facts))
