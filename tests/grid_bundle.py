"""A bundle of colour images whose latents are grids, written without torch."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latens_serving.bundle.files import manifest_json, record_of
from latens_serving.bundle.probe import PROBE_FILE, Probe, probe_bytes
from latens_serving.bundle.schema import BundleManifest, Provenance
from latens_serving.bundle.spec import ModelSpec, fixed_image_axes, fixed_latent_axes
from latens_serving.engine.onnx import Device, EngineSettings, OnnxEngine

IMAGE, LATENT = (3, 16, 24), (4, 2, 3)


def graph(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray], outputs: list[str]) -> bytes:
    shapes = {"images": IMAGE, "mean": LATENT, "log_var": LATENT, "latents": LATENT}
    given = "latents" if outputs == ["images"] else "images"

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shapes[name]])

    body = helper.make_graph(
        nodes,
        "graph",
        [value(given)],
        [value(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(body, opset_imports=opsets, ir_version=9).SerializeToString()


def write_grid_bundle(model: Path) -> Path:
    """Writes version 1 of a model of one strided convolution each way; returns its folder."""
    generator = np.random.default_rng(0)
    stride: dict[str, Any] = {"kernel_shape": [8, 8], "strides": [8, 8]}

    def weight(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.05, shape).astype(np.float32)

    encoder = graph(
        [
            helper.make_node("Conv", ["images", "m"], ["mean"], **stride),
            helper.make_node("Conv", ["images", "v"], ["log_var"], **stride),
        ],
        {"m": weight(4, 3, 8, 8), "v": weight(4, 3, 8, 8)},
        ["mean", "log_var"],
    )
    decoder = graph(
        [
            helper.make_node("ConvTranspose", ["latents", "w"], ["logits"], **stride),
            helper.make_node("Sigmoid", ["logits"], ["images"]),
        ],
        {"w": weight(4, 3, 8, 8)},
        ["images"],
    )
    settings = EngineSettings(Device.CPU)
    images = generator.random((4, *IMAGE), np.float32)
    latents = generator.normal(size=(4, *LATENT)).astype(np.float32)
    mean, log_var = OnnxEngine(encoder, settings).run(images)
    (decoded,) = OnnxEngine(decoder, settings).run(latents)
    probe = probe_bytes(
        Probe(images=images, mean=mean, log_var=log_var, latents=latents, decoded=decoded)
    )
    spec = ModelSpec(
        data_axes=fixed_image_axes(IMAGE),
        latent_axes=fixed_latent_axes(LATENT),
        architecture="grid",
        beta=1,
        dataset="none",
        likelihood="gaussian",
        posterior="diagonal-gaussian",
        tolerance=1e-4,
        parameter_count=0,
    )
    folder = model / "1"
    folder.mkdir(parents=True)
    records = {}
    files = {"encoder": "encoder.onnx", "decoder": "decoder.onnx", "probe": PROBE_FILE}
    for part, content in (("encoder", encoder), ("decoder", decoder), ("probe", probe)):
        (folder / files[part]).write_bytes(content)
        records[part] = record_of(files[part], content)
    manifest = BundleManifest(
        name=model.name,
        version=1,
        spec=spec,
        provenance=Provenance(created=datetime.now(UTC), framework="none"),
        **records,
    )
    (folder / "bundle.json").write_bytes(manifest_json(manifest))
    return model
