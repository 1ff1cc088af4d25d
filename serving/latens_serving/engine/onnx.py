"""The engine: one ONNX graph in ONNX Runtime, on the device that was asked for.

An engine is synchronous, takes whole batches and knows nothing of calls. Its failures are those of
`latens_serving.engine.errors`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from latens_serving.bundle.graph import LargeGraph
from latens_serving.engine.cuda import availability as cuda
from latens_serving.engine.errors import (
    DeviceLostError,
    DeviceMemoryError,
    DeviceUnavailableError,
    EngineError,
)
from latens_serving.engine.external_data import check_external_data, refuse_external_data

CPU_PROVIDER = "CPUExecutionProvider"

_LOG_ERRORS_ONLY = 3


class Device(StrEnum):
    """Where a graph runs."""

    AUTO = "auto"
    """The GPU where there is one, else the CPU."""
    CPU = "cpu"
    CUDA = "cuda"
    """The GPU or nothing: never falls back."""


@dataclasses.dataclass(frozen=True, slots=True)
class EngineSettings:
    """How engines run. The defaults suit a server whose front end shares the cores."""

    device: Device = Device.AUTO
    device_id: int = 0
    threads: int = 1
    """Threads of one operator on the CPU, for each engine."""
    gpu_memory_limit: int = 0
    """Bytes that an engine's arena may hold on the GPU; 0 for no limit."""
    tf32: bool = False
    """Whether GPU matrix products may round their inputs to 10 bits of mantissa."""
    gpu_batch_rows: int = 4096
    """The most rows of one run on a GPU. A longer batch becomes several, whose copies overlap."""
    cuda_graphs: bool = False
    """Whether each batch size is captured as a CUDA graph on the GPU, and replayed."""


@dataclasses.dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a graph."""

    name: str
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    """The shape of one row: all axes but the first; 0 for a free one."""

    @property
    def is_free(self) -> bool:
        """Whether rows of several shapes can be run."""
        return 0 in self.row_shape

    @property
    def row_bytes(self) -> int:
        """Bytes of one row; 0 if its shape is free."""
        return math.prod(self.row_shape) * self.dtype.itemsize


class Engine(Protocol):
    """One graph that can be run. Not safe to call from two threads unless an engine says so."""

    @property
    def input(self) -> TensorSpec: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def provider(self) -> str:
        """The ONNX Runtime provider that runs it."""
        ...

    @property
    def device_fallback(self) -> bool:
        """Whether it runs on the CPU because `auto` found no usable GPU."""
        ...

    def run(self, inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Runs a batch: inputs `[n, *input.row_shape]`, n > 0, to one array per output.

        Raises:
            DeviceMemoryError: the device has too little memory for this batch.
            DeviceLostError: the device is gone; no later run can succeed.
            EngineError: anything else.
        """
        ...

    def close(self) -> None:
        """Frees the engine's memory. Later runs raise EngineError."""
        ...


class OnnxEngine:
    """An `Engine` over an ONNX Runtime session. On the CPU, `run` may be called by many threads."""

    def __init__(self, graph: bytes, settings: EngineSettings | None = None) -> None:
        """Loads a graph with one input and any number of outputs, axis 0 of each the batch.

        Raises:
            DeviceUnavailableError: `device` is CUDA and the graph cannot run there, all of it.
            DeviceMemoryError: the device has no room for the weights.
            EngineError: the bytes are no such graph.
        """
        settings = settings or EngineSettings()
        self._session: ort.InferenceSession | None
        self._session, self.device_fallback = open_session(graph, settings)
        self.provider: str = self._session.get_providers()[0]
        self.input = input_spec(self._session)
        self.outputs = output_specs(self._session)
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Runs a batch; see `Engine.run`."""
        if self._session is None:
            raise EngineError("the engine is closed")
        try:
            return tuple(self._session.run(self._output_names, {self.input.name: inputs}))
        except Exception as error:
            raise classified(error) from error

    def close(self) -> None:
        self._session = None


def open_session(graph: bytes, settings: EngineSettings) -> tuple[ort.InferenceSession, bool]:
    """Opens a session on the device asked for; also whether `auto` fell back to the CPU."""
    if settings.device is Device.CPU:
        return _cpu_session(graph, settings), False
    reason = cuda.why_unavailable(settings.device_id)
    if reason is None:
        try:
            return open_cuda_session(graph, settings), False
        except DeviceUnavailableError as error:
            reason = str(error)
    if settings.device is Device.CUDA:
        raise DeviceUnavailableError(
            f"device cuda was asked for, but {reason}. Make the GPU usable, "
            "or choose device cpu (or auto, which takes the CPU when there is no GPU)."
        )
    return _cpu_session(graph, settings), True


def classified(error: Exception) -> EngineError:
    """Turns an exception of ONNX Runtime into ours, by the kind of failure."""
    text = str(error)
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(text):
        return DeviceMemoryError(text or "out of memory")
    if type(error).__name__ == "DeviceReset" or _DEVICE_LOST.search(text):
        return DeviceLostError(text)
    return EngineError(text or type(error).__name__)


# ONNX Runtime reports failures of CUDA as text. Error numbers are those of the CUDA driver; after
# the ones below no call of the process succeeds any more, so they mean that the device is lost.
_OUT_OF_MEMORY = re.compile(
    r"CUDA (?:failure|error) 2\b|out of memory|Failed to allocate memory|bad_alloc|ALLOC_FAILED"
    r"|is smaller than requested bytes",
    re.IGNORECASE,
)
_DEVICE_LOST = re.compile(
    r"CUDA (?:failure|error) (?:46|100|101|214|7(?:00|02|1[0-9]|2[01])|999)\b"
    r"|CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER|device[- ](?:lost|reset)",
    re.IGNORECASE,
)


def _cpu_session(graph: bytes, settings: EngineSettings) -> ort.InferenceSession:
    return _session(graph, _session_options(settings.threads), [CPU_PROVIDER])


def open_cuda_session(
    graph: bytes, settings: EngineSettings, stream: int | None = None
) -> ort.InferenceSession:
    """Opens a session all of whose nodes run on the GPU; in the given stream, if there is one.

    Raises:
        DeviceUnavailableError: the graph cannot run there, all of it.
        DeviceMemoryError: the device has no room for the weights.
    """
    options = _session_options(threads=1)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    hint = cuda.load_libraries()
    try:
        session = _session(graph, options, [(cuda.PROVIDER, _cuda_options(settings, stream))])
    except (DeviceMemoryError, DeviceLostError):
        raise
    except EngineError as error:
        reason = f"ONNX Runtime cannot run the graph there: {error}"
        raise DeviceUnavailableError(f"{reason} ({hint})" if hint else reason) from error
    if session.get_providers()[0] != cuda.PROVIDER:
        raise DeviceUnavailableError(f"ONNX Runtime loaded {session.get_providers()[0]} instead")
    return session


def _cuda_options(settings: EngineSettings, stream: int | None) -> dict[str, str]:
    options = {
        "device_id": str(settings.device_id),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE measures anew for each batch size
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        "use_tf32": str(int(settings.tf32)),
    }
    if settings.gpu_memory_limit:
        options["gpu_mem_limit"] = str(settings.gpu_memory_limit)
    if stream is not None:
        options["user_compute_stream"] = str(stream)
        options["enable_cuda_graph"] = str(int(settings.cuda_graphs))
    return options


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # ONNX Runtime would guess by the content; files of its own format may name other files.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _session(
    graph: bytes, options: ort.SessionOptions, providers: list[Any]
) -> ort.InferenceSession:
    if isinstance(graph, LargeGraph):
        check_external_data(graph, graph.file, len(graph.weights))
        options.add_external_initializers_from_files_in_memory(
            [graph.file], [graph.weights], [len(graph.weights)]
        )
    else:
        refuse_external_data(graph)
    try:
        return ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:
        raise classified(error) from error


_DTYPES: dict[str, np.dtype[Any]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(uint8)": np.dtype(np.uint8),
    "tensor(int64)": np.dtype(np.int64),
}


def input_spec(session: ort.InferenceSession) -> TensorSpec:
    """The one input of a session's graph.

    Raises:
        EngineError: it has several, or axis 0 is not its batch.
    """
    specs = [_spec(node) for node in session.get_inputs()]
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs) or "none"
        raise EngineError(f"a graph must have one input; this one has {len(specs)}: {names}")
    return specs[0]


def output_specs(session: ort.InferenceSession) -> tuple[TensorSpec, ...]:
    """The outputs of a session's graph.

    Raises:
        EngineError: axis 0 of one is not its batch.
    """
    return tuple(_spec(node) for node in session.get_outputs())


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DTYPES:
        raise EngineError(f"{node.name}: elements of {node.type} are not supported")
    batch, *row_shape = node.shape or [None]
    if isinstance(batch, int):
        raise EngineError(f"{node.name}: shape {node.shape}: axis 0, the batch, must be free")
    lengths = tuple(length if isinstance(length, int) else 0 for length in row_shape)
    return TensorSpec(node.name, _DTYPES[node.type], lengths)
