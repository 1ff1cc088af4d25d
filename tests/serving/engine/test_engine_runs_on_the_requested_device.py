"""An engine runs on the requested device, or reports why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from latens_serving.bundle.files import read_manifest, verified_bytes
from latens_serving.bundle.probe import read_probe
from latens_serving.engine.cuda import availability as cuda
from latens_serving.engine.errors import (
    DeviceLostError,
    DeviceMemoryError,
    DeviceUnavailableError,
    EngineError,
)
from latens_serving.engine.onnx import (
    CPU_PROVIDER,
    Device,
    EngineSettings,
    OnnxEngine,
    classified,
    open_cuda_session,
)
from latens_serving.models import loading
from latens_serving.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from latens_serving.bundle.schema import BundleManifest

ON_CPU = EngineSettings(device=Device.CPU)


@pytest.fixture(scope="module")
def manifest(model_repository: Path) -> BundleManifest:
    return read_manifest(model_repository / "mnist-2d" / "1")


@pytest.fixture(scope="module")
def encoder(model_repository: Path, manifest: BundleManifest) -> bytes:
    return verified_bytes(model_repository / "mnist-2d" / "1", manifest.encoder)


def graph(
    operator: str, shape: list[str | int | None], element_type: int, inputs: int = 1
) -> bytes:
    names = [f"x{index}" for index in range(inputs)]
    node = helper.make_node(operator, names, ["y"])
    proto = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info(name, element_type, shape) for name in names],
        [helper.make_tensor_value_info("y", element_type, shape)],
    )
    opset = [helper.make_opsetid("", 20)]
    content: bytes = helper.make_model(
        proto, opset_imports=opset, ir_version=10
    ).SerializeToString()
    return content


def test_an_engine_gives_the_probe_s_answers(
    model_repository: Path, manifest: BundleManifest, encoder: bytes
) -> None:
    directory = model_repository / "mnist-2d" / "1"
    probe = read_probe(verified_bytes(directory, manifest.probe), manifest.spec)
    engine = OnnxEngine(encoder, ON_CPU)
    mean, log_var = engine.run(probe.images)
    assert probe.log_var is not None
    assert np.abs(mean - probe.mean).max() <= manifest.spec.tolerance
    assert np.abs(log_var - probe.log_var).max() <= manifest.spec.tolerance


def test_an_engine_describes_its_inputs_and_outputs(encoder: bytes) -> None:
    engine = OnnxEngine(encoder, ON_CPU)
    assert (engine.input.name, engine.input.dtype, engine.input.row_shape) == (
        "images", np.dtype(np.float32), (1, 28, 28)
    )  # fmt: skip
    assert engine.input.row_bytes == 4 * 28 * 28
    assert [(spec.name, spec.row_shape) for spec in engine.outputs] == [
        ("mean", (2,)), ("log_var", (2,))
    ]  # fmt: skip


def test_a_requested_cpu_is_no_fallback(encoder: bytes) -> None:
    engine = OnnxEngine(encoder, ON_CPU)
    assert engine.provider == CPU_PROVIDER
    assert not engine.device_fallback


def test_auto_falls_back_to_the_cpu_and_reports_it(
    encoder: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "why_unavailable", lambda _: "there is none")
    engine = OnnxEngine(encoder, EngineSettings(device=Device.AUTO))
    assert engine.provider == CPU_PROVIDER
    assert engine.device_fallback


def test_cuda_never_falls_back_and_the_error_says_what_to_do(
    encoder: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "why_unavailable", lambda _: "no NVIDIA driver here")
    with pytest.raises(DeviceUnavailableError, match=r"no NVIDIA driver here.*choose device cpu"):
        OnnxEngine(encoder, EngineSettings(device=Device.CUDA))


def test_a_failure_of_onnx_runtime_to_use_cuda_is_an_error(
    encoder: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cuda.why_unavailable(0) is None:
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(cuda, "why_unavailable", lambda _: None)
    with pytest.raises(DeviceUnavailableError, match="cannot run the graph there"):
        OnnxEngine(encoder, EngineSettings(device=Device.CUDA))
    assert OnnxEngine(encoder, EngineSettings(device=Device.AUTO)).device_fallback


def test_the_gpu_is_set_up_as_documented(encoder: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, str]]] = []
    entries: dict[str, str] = {}

    def session(
        _graph: bytes, options: ort.SessionOptions, providers: list[Any], enable_fallback: int
    ) -> None:
        asked.extend(providers)
        name = "session.disable_cpu_ep_fallback"
        entries[name] = options.get_session_config_entry(name)
        assert enable_fallback == 0
        raise RuntimeError("CUDA failure 2: out of memory")

    monkeypatch.setattr(cuda, "load_libraries", lambda: "")
    monkeypatch.setattr(ort, "InferenceSession", session)
    settings = EngineSettings(
        device=Device.CUDA, device_id=3, tf32=True, gpu_memory_limit=9, cuda_graphs=True
    )
    with pytest.raises(DeviceMemoryError):
        open_cuda_session(encoder, settings, stream=77)
    ((provider, options),) = asked
    assert provider == cuda.PROVIDER
    assert entries["session.disable_cpu_ep_fallback"] == "1"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert (options["device_id"], options["gpu_mem_limit"]) == ("3", "9")
    assert (options["use_tf32"], options["enable_cuda_graph"]) == ("1", "1")
    assert options["user_compute_stream"] == "77"


@pytest.mark.parametrize(("precision", "tf32"), [("float32", False), ("tf32", True)])
def test_tf32_is_on_where_the_bundle_declares_it(
    manifest: BundleManifest, precision: str, tf32: bool
) -> None:
    spec = manifest.spec.model_copy(update={"precision": precision})
    declared = manifest.model_copy(update={"spec": spec})
    settings = loading._with_declared_precision(Settings().load_options().engine, declared)
    assert settings.tf32 is tf32


def test_a_device_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.ort, "get_available_providers", lambda: [cuda.PROVIDER])
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    assert cuda.why_unavailable(0) is None
    assert cuda.why_unavailable(3) == "there is no CUDA device 3 (1 visible to this process)"
    monkeypatch.setattr(cuda.ort, "get_available_providers", lambda: [CPU_PROVIDER])
    assert "no CUDA provider" in str(cuda.why_unavailable(0))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Non-zero status code: BFCArena: Failed to allocate memory for requested buffer of size 9",
         DeviceMemoryError),
        ("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc", DeviceMemoryError),
        ("Available memory of 10 is smaller than requested bytes of 20", DeviceMemoryError),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", DeviceMemoryError),
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", DeviceLostError),
        ("CUDA failure 719: unspecified launch failure ; GPU=0", DeviceLostError),
        ("CUDA error 999: unknown error", DeviceLostError),
        ("CUDA failure 1: invalid argument", EngineError),
        ("CUDA failure 7000: no such number", EngineError),
        ("Got invalid dimensions for input: images", EngineError),
        ("", EngineError),
    ],
)  # fmt: skip
def test_failures_of_a_device_are_distinguished(text: str, kind: type[EngineError]) -> None:
    error = classified(RuntimeError(text))
    assert type(error) is kind
    assert str(error)


def test_a_memory_error_of_the_host_is_one_of_memory() -> None:
    assert type(classified(MemoryError())) is DeviceMemoryError


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((2, 1, 28, 27), np.float32),
        np.zeros((2, 784), np.float32),
        np.zeros((2, 1, 28, 28), np.float64),
    ],
)
def test_inputs_that_do_not_fit_are_an_engine_error_and_the_next_run_works(
    encoder: bytes, inputs: np.ndarray
) -> None:
    engine = OnnxEngine(encoder, ON_CPU)
    with pytest.raises(EngineError):
        engine.run(inputs)
    assert engine.run(np.zeros((2, 1, 28, 28), np.float32))[0].shape == (2, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "."),
        (b"garbage", "protobuf"),
        (graph("Relu", [3, 4], TensorProto.FLOAT), "axis 0"),
        (graph("Relu", ["batch", 4], TensorProto.DOUBLE), "not supported"),
        (graph("Add", ["batch", 4], TensorProto.FLOAT, inputs=2), "one input; this one has 2"),
    ],
    ids=["empty", "garbage", "fixed-batch", "double", "two-inputs"],
)
def test_a_graph_that_cannot_be_served_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        OnnxEngine(content, ON_CPU)


def test_an_engine_runs_rows_of_every_shape_that_its_graph_leaves_free() -> None:
    engine = OnnxEngine(graph("Relu", ["batch", "width"], TensorProto.FLOAT), ON_CPU)
    assert (engine.input.row_shape, engine.input.is_free) == ((0,), True)
    for width in (3, 5):
        assert engine.run(np.zeros((2, width), np.float32))[0].shape == (2, width)


def test_a_closed_engine_refuses_to_run(encoder: bytes) -> None:
    engine = OnnxEngine(encoder, ON_CPU)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run(np.zeros((1, 1, 28, 28), np.float32))
    engine.close()


def test_received_bytes_are_run_without_a_copy(encoder: bytes) -> None:
    received = np.zeros((2, 1, 28, 28), np.float32).tobytes()
    view = np.frombuffer(received, np.float32).reshape(2, 1, 28, 28)
    assert not view.flags.writeable
    assert OnnxEngine(encoder, ON_CPU).run(view)[0].shape == (2, 2)


def test_no_exported_graph_needs_the_cpu_for_its_shapes(
    model_repository: Path, manifest: BundleManifest
) -> None:
    """Or the check that all of a graph runs on the GPU could not be made."""
    for record in (manifest.encoder, manifest.decoder):
        content = verified_bytes(model_repository / "mnist-2d" / "1", record)
        operators = {node.op_type for node in onnx.load_from_string(content).graph.node}
        assert not operators & {"Shape", "Size", "NonZero", "ConstantOfShape", "Range"}
