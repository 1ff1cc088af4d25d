"""A bundle that was changed, truncated or moved is refused, and the invalid part named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.probe import probe_bytes, read_probe
from latens_serving.bundle.schema import BundleError, BundleManifest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def directory(model_repository: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "mnist-2d" / "1"
    shutil.copytree(model_repository / "mnist-2d" / "1", copy)
    return copy


def change(directory: Path, update: Callable[[dict[str, Any]], object]) -> None:
    path = directory / "bundle.json"
    document = json.loads(path.read_bytes())
    update(document)
    path.write_text(json.dumps(document))


def test_a_valid_bundle_is_read(directory: Path) -> None:
    manifest = read_manifest(directory)
    probe = read_probe(verified_bytes(directory, manifest.probe), manifest.spec)
    assert manifest.spec.latent_shape == probe.mean.shape[1:]
    for record in (manifest.encoder, manifest.decoder):
        assert len(verified_bytes(directory, record)) == record.size


@pytest.mark.parametrize("part", ["encoder", "decoder", "encoder_uint8", "decoder_uint8", "probe"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-1], "bytes, the manifest says"),
        (lambda content: content + b"\0", "bytes, the manifest says"),
        (lambda content: bytes([content[0] ^ 1]) + content[1:], "SHA-256 digest differs"),
        (lambda _: None, "No such file"),
    ],
    ids=["cut", "longer", "changed", "missing"],
)
def test_a_tampered_file_is_refused(
    directory: Path, part: str, damage: Callable[[bytes], bytes | None], said: str
) -> None:
    record = getattr(read_manifest(directory), part)
    path = directory / record.name
    content = damage(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{record.name}: .*{said}"):
        verified_bytes(directory, record)


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (lambda document: document.update(schema_version=3), "schema_version"),
        (lambda document: document.update(surprise=1), "surprise"),
        (lambda document: document.pop("encoder"), "encoder: Field required"),
        (lambda document: document["encoder"].update(name="../../etc/passwd"), "encoder.name"),
        (lambda document: document["spec"].update(latent_axes=[]), "spec.latent_axes"),
        (lambda document: document["spec"]["data_axes"][1].update(size=0), "data_axes.1.size"),
        (lambda document: document["spec"].update(tolerance=0), "spec.tolerance"),
        (lambda document: document["spec"].update(tolerance=0.02), "float32 .*at most 0.01"),
        (lambda document: document["spec"].update(precision="int3"), "got 'int3'"),
        (lambda document: document["spec"].update(beta=float("inf")), "spec.beta"),
        (lambda document: document["spec"].update(sigma=float("nan")), "spec.sigma"),
        (lambda document: document.update(version=2), "says mnist-2d/2, but lies in mnist-2d/1"),
        (lambda document: document.update(name="other"), "says other/1, but lies in mnist-2d/1"),
    ],
)
def test_a_wrong_manifest_is_refused(
    directory: Path, update: Callable[[dict[str, Any]], object], said: str
) -> None:
    change(directory, update)
    with pytest.raises(BundleError, match=said):
        read_manifest(directory)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_a_manifest_that_is_not_an_object_is_refused(directory: Path, content: bytes) -> None:
    (directory / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json: "):
        read_manifest(directory)


def test_a_missing_manifest_is_refused(directory: Path) -> None:
    (directory / "bundle.json").unlink()
    with pytest.raises(BundleError, match="No such file"):
        read_manifest(directory)


@pytest.fixture
def manifest(directory: Path) -> BundleManifest:
    return read_manifest(directory)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("images", np.zeros((2, 1, 28, 27), np.float32), "images"),
        ("mean", np.zeros((8, 3), np.float32), "mean"),
        ("mean", np.zeros((7, 2), np.float32), "mean"),
        ("decoded", np.zeros((1, 1, 28, 28), np.float32), "decoded"),
        ("latents", np.zeros((16, 2), np.float64), "float64"),
        ("latents", np.full((16, 2), np.nan, np.float32), "not finite"),
        ("log_var", np.float32(0), "log_var"),
        ("images", np.array(["text"]), "images"),
    ],
)
def test_a_probe_that_breaks_the_contract_is_refused(
    directory: Path, manifest: BundleManifest, name: str, array: np.ndarray, said: str
) -> None:
    probe = read_probe(verified_bytes(directory, manifest.probe), manifest.spec)
    changed = probe.model_copy(update={name: array})
    with pytest.raises(BundleError, match=said):
        read_probe(probe_bytes(changed), manifest.spec)


def test_a_probe_without_one_of_its_arrays_is_refused(
    directory: Path, manifest: BundleManifest
) -> None:
    probe = read_probe(verified_bytes(directory, manifest.probe), manifest.spec)
    with pytest.raises(BundleError, match="log_var"):
        read_probe(probe_bytes(probe.model_copy(update={"log_var": None})), manifest.spec)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"garbage" * 99])
def test_a_probe_that_is_no_archive_is_refused(manifest: BundleManifest, content: bytes) -> None:
    with pytest.raises(BundleError, match="not a readable archive"):
        read_probe(content, manifest.spec)


def test_a_probe_holding_pickled_objects_is_refused(manifest: BundleManifest) -> None:
    import io

    content = io.BytesIO()
    np.savez(content, images=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BundleError, match="not a readable archive"):
        read_probe(content.getvalue(), manifest.spec)
