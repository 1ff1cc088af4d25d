"""Bundles of graphs that anyone can check: an encoder that averages, a decoder that repeats.

A latent is the mean of `STRIDE` x `STRIDE` pixels, and its image repeats it as often. Height and
width are free. No torch is needed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from latens_serving.bundle.files import manifest_json, record_of
from latens_serving.bundle.prior import PRIOR_FILE, FittedPrior, prior_bytes
from latens_serving.bundle.probe import PROBE_FILE, Probe, probe_bytes
from latens_serving.bundle.schema import BundleManifest, Provenance
from latens_serving.bundle.spec import Axis, LatentAxis, ModelSpec

Floats = NDArray[np.float32]

STRIDE = 4
CHANNELS = 3
LOG_VAR = -2.0
_OPSET = 17


def side(name: str, **bounds: int) -> Axis:
    usual = {"multiple": STRIDE, "minimum": 2 * STRIDE, "maximum": 64, "usual": 16}
    return Axis(name=name, **(usual | bounds))


def spatial_spec(**changes: Any) -> ModelSpec:
    facts: dict[str, Any] = {
        "data_axes": (Axis(name="channels", size=CHANNELS), side("height"), side("width")),
        "latent_axes": (
            LatentAxis(name="channels", size=CHANNELS),
            LatentAxis(name="height", of="height", stride=STRIDE),
            LatentAxis(name="width", of="width", stride=STRIDE),
        ),
        "posterior": "diagonal-gaussian",
        "tolerance": 1e-4,
        "architecture": "mean of squares",
    }
    return ModelSpec(**(facts | changes))


def encoded(images: Floats) -> Floats:
    """What the encoder gives as the mean."""
    rows, channels, height, width = images.shape
    squares = images.reshape(rows, channels, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    return squares.mean((3, 5), dtype=np.float32)


def decoded(latents: Floats) -> Floats:
    """What the decoder gives."""
    return np.clip(latents, 0, 1).repeat(STRIDE, 2).repeat(STRIDE, 3)


def write_spatial(
    repository: Path,
    name: str = "spatial",
    spec: ModelSpec | None = None,
    *,
    prior: FittedPrior | None = None,
    convolutions: int = 0,
) -> Path:
    """Writes version 1 of the model; returns its directory.

    Args:
        repository: where to.
        name: the model's name.
        spec: what the manifest says; `spatial_spec()` if None.
        prior: of a spec that says fitted-gaussian.
        convolutions: how many convolutions the decoder makes that change nothing but its cost.
    """
    spec = spec or spatial_spec()
    has_log_var = spec.posterior == "diagonal-gaussian"
    files = {
        "encoder.onnx": _encoder(has_log_var),
        "decoder.onnx": _decoder(convolutions),
        PROBE_FILE: probe_bytes(_probe(spec, has_log_var)),
    }
    if prior is not None:
        files[PRIOR_FILE] = prior_bytes(prior)
    records = {file: record_of(file, content) for file, content in files.items()}
    manifest = BundleManifest(
        name=name,
        version=1,
        spec=spec,
        encoder=records["encoder.onnx"],
        decoder=records["decoder.onnx"],
        probe=records[PROBE_FILE],
        prior=records.get(PRIOR_FILE),
        provenance=Provenance(created=datetime.fromtimestamp(0, UTC), framework="by hand"),
    )
    directory = repository / name / "1"
    directory.mkdir(parents=True)
    for file, content in files.items():
        (directory / file).write_bytes(content)
    (directory / "bundle.json").write_bytes(manifest_json(manifest))
    return directory


def random_images(rows: int, height: int, width: int, seed: int = 0) -> Floats:
    generator = np.random.default_rng(seed)
    return generator.random((rows, CHANNELS, height, width), np.float32)


def _probe(spec: ModelSpec, has_log_var: bool) -> Probe:
    images = random_images(8, *spec.usual_data_shape[1:])
    mean = encoded(images)
    return Probe(
        images=images,
        mean=mean,
        log_var=np.full_like(mean, LOG_VAR) if has_log_var else None,
        latents=np.concatenate([mean, mean]),
        decoded=decoded(np.concatenate([mean, mean])),
    )


def _encoder(has_log_var: bool) -> bytes:
    sides = [STRIDE, STRIDE]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["mean"], kernel_shape=sides, strides=sides)
    ]
    outputs = [_value("mean", "h4", "w4")]
    constants = []
    if has_log_var:
        nodes += [
            helper.make_node("Mul", ["mean", "nothing"], ["zeros"]),
            helper.make_node("Add", ["zeros", "log_variance"], ["log_var"]),
        ]
        outputs.append(_value("log_var", "h4", "w4"))
        constants = [_constant("nothing", 0.0), _constant("log_variance", LOG_VAR)]
    return _graph(nodes, [_value("images", "h", "w")], outputs, constants)


def _decoder(convolutions: int) -> bytes:
    scales = numpy_helper.from_array(np.array([1, 1, STRIDE, STRIDE], np.float32), "scales")
    nodes = [
        helper.make_node("Clip", ["latents", "least", "most"], ["clipped"]),
        helper.make_node("Resize", ["clipped", "", "scales"], ["image"], mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    ]  # fmt: skip
    constants = [scales, _constant("least", 0.0), _constant("most", 1.0)]
    if convolutions:
        nodes.append(
            helper.make_node("Loop", ["times", "", "image"], ["images"], body=_convolution())
        )
        constants.append(numpy_helper.from_array(np.array(convolutions, np.int64), "times"))
    else:
        nodes.append(helper.make_node("Identity", ["image"], ["images"]))
    return _graph(nodes, [_value("latents", "h4", "w4")], [_value("images", "h", "w")], constants)


def _convolution() -> Any:
    """The body of a loop: a convolution with the kernel of the identity."""
    kernel = np.zeros((CHANNELS, CHANNELS, 3, 3), np.float32)
    kernel[range(CHANNELS), range(CHANNELS), 1, 1] = 1
    return helper.make_graph(
        [
            helper.make_node("Conv", ["before", "kernel"], ["after"], pads=[1, 1, 1, 1]),
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(kernel, "kernel")],
    )


def _value(name: str, height: str, width: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", CHANNELS, height, width])


def _constant(name: str, value: float) -> Any:
    return numpy_helper.from_array(np.array(value, np.float32), name)


def _graph(nodes: Any, inputs: Any, outputs: Any, constants: Any) -> bytes:
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content
