"""Invalid bundles, and what the refusal of each must contain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from latens_serving.bundle.files import manifest_json, record_of
from latens_serving.bundle.schema import BundleManifest


def rewritten(directory: Path, part: str, content: bytes) -> None:
    """Changes a file and its record in the manifest."""
    path = directory / "bundle.json"
    manifest = json.loads(path.read_text())
    (directory / manifest[part]["name"]).write_bytes(content)
    manifest[part] = record_of(manifest[part]["name"], content).model_dump()
    path.write_bytes(manifest_json(BundleManifest.model_validate(manifest)))


def truncated(directory: Path) -> None:
    path = directory / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def tampered(directory: Path) -> None:
    path = directory / "encoder.onnx"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def without_decoder(directory: Path) -> None:
    (directory / "decoder.onnx").unlink()


def of_wrong_opset(directory: Path) -> None:
    model = onnx.load(directory / "encoder.onnx")
    model.opset_import[0].version = 9999
    rewritten(directory, "encoder", model.SerializeToString())


def of_nan_weights(directory: Path) -> None:
    model = onnx.load(directory / "decoder.onnx")
    weights = model.graph.initializer[0]
    array = np.full(weights.dims, np.nan, np.float32)
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    rewritten(directory, "decoder", model.SerializeToString())


def unlike_its_probe(directory: Path) -> None:
    with np.load(directory / "probe.npz") as probe:
        arrays = dict(probe)
    arrays["mean"] = arrays["mean"] + 0.1
    path = directory / "other.npz"
    np.savez(path, **arrays)
    rewritten(directory, "probe", path.read_bytes())


def with_swapped_graphs(directory: Path) -> None:
    rewritten(directory, "decoder", (directory / "encoder.onnx").read_bytes())


def without_manifest(directory: Path) -> None:
    (directory / "bundle.json").unlink()


def half_copied(directory: Path) -> None:
    for name in ("decoder.onnx", "probe.npz"):  # as a full disk leaves a copy
        (directory / name).write_bytes(b"")


BAD: dict[Callable[[Path], None], str] = {
    truncated: "bytes, the manifest says",
    tampered: "SHA-256",
    without_decoder: "decoder.onnx",
    of_wrong_opset: "9999",
    of_nan_weights: "differs from the training framework by nan",
    unlike_its_probe: "differs from the training framework by 0.1",
    with_swapped_graphs: "decoder",
    without_manifest: "bundle.json",
    half_copied: "bytes, the manifest says",
}
