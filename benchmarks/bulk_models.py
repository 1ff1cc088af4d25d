"""A model of about 20 ms a row on one processor: fourteen convolutions over 64 x 64 pixels."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from latens_serving.bundle.files import manifest_json, record_of
from latens_serving.bundle.probe import PROBE_FILE, Probe, probe_bytes
from latens_serving.bundle.schema import BundleManifest, Provenance
from latens_serving.bundle.spec import ModelSpec, fixed_image_axes, fixed_latent_axes
from latens_serving.engine.onnx import Device, EngineSettings, OnnxEngine

REPOSITORY = Path(__file__).parents[1] / "build" / "benchmarks" / "slow-models"
NAME = "slow"
IMAGE, LATENT = (3, 64, 64), (4, 8, 8)
_WIDTH, _LAYERS = 64, 14


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG file of an image `[channels, height, width]`."""
    content = io.BytesIO()
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)
    Image.fromarray(pixels).save(content, "png", compress_level=1)
    return content.getvalue()


def repository() -> Path:
    """A repository with the model; made once. Its weights are random."""
    folder = REPOSITORY / NAME / "1"
    if not (folder / "bundle.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder)
    return REPOSITORY


def _encoder(generator: np.random.Generator) -> bytes:
    weights, nodes, last = {}, [], "images"
    for layer in range(_LAYERS):
        channels = IMAGE[0] if layer == 0 else _WIDTH
        weights[f"w{layer}"] = _weight(generator, _WIDTH, channels, 3, 3)
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last = f"r{layer}"
    for head in ("mean", "log_var"):
        weights[head[0]] = _weight(generator, LATENT[0], _WIDTH, 8, 8)
        nodes.append(helper.make_node("Conv", [last, head[0]], [head], strides=[8, 8]))
    return _graph(nodes, weights, {"images": IMAGE}, {"mean": LATENT, "log_var": LATENT})


def _decoder(generator: np.random.Generator) -> bytes:
    nodes = [
        helper.make_node("ConvTranspose", ["latents", "w"], ["logits"], strides=[8, 8]),
        helper.make_node("Sigmoid", ["logits"], ["images"]),
    ]
    weights = {"w": _weight(generator, LATENT[0], IMAGE[0], 8, 8)}
    return _graph(nodes, weights, {"latents": LATENT}, {"images": IMAGE})


def _weight(generator: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return (generator.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def _graph(
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[np.float32]],
    taken: dict[str, tuple[int, ...]],
    given: dict[str, tuple[int, ...]],
) -> bytes:
    def values(shapes: dict[str, tuple[int, ...]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
            for name, shape in shapes.items()
        ]

    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    body = helper.make_graph(nodes, "graph", values(taken), values(given), tensors)
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(body, opset_imports=opsets, ir_version=9).SerializeToString()


def _write(folder: Path) -> None:
    generator = np.random.default_rng(0)
    encoder, decoder = _encoder(generator), _decoder(generator)
    images = generator.random((2, *IMAGE), np.float32)
    latents = generator.normal(size=(2, *LATENT)).astype(np.float32)
    settings = EngineSettings(Device.CPU)
    mean, log_var = OnnxEngine(encoder, settings).run(images)
    (decoded,) = OnnxEngine(decoder, settings).run(latents)
    probe = Probe(images=images, mean=mean, log_var=log_var, latents=latents, decoded=decoded)
    contents = {
        "encoder": ("encoder.onnx", encoder),
        "decoder": ("decoder.onnx", decoder),
        "probe": (PROBE_FILE, probe_bytes(probe)),
    }
    for name, content in contents.values():
        (folder / name).write_bytes(content)
    manifest = BundleManifest(
        name=NAME,
        version=1,
        spec=ModelSpec(
            data_axes=fixed_image_axes(IMAGE),
            latent_axes=fixed_latent_axes(LATENT),
            architecture="fourteen convolutions",
            beta=1,
            dataset="none",
            likelihood="gaussian",
            posterior="diagonal-gaussian",
            tolerance=1e-4,
            parameter_count=0,
        ),
        provenance=Provenance(created=datetime.now(UTC), framework="none"),
        **{part: record_of(*file) for part, file in contents.items()},
    )
    (folder / "bundle.json").write_bytes(manifest_json(manifest))
