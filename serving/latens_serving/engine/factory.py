"""Opens the engine of a graph: that of the GPU where there is one, else that of the CPU."""

from __future__ import annotations

import traceback

from latens_serving.engine.batch_sizes import BatchSizes
from latens_serving.engine.cuda import availability as cuda
from latens_serving.engine.cuda.driver_memory import CudaMemory
from latens_serving.engine.cuda.engine import DeviceEngine
from latens_serving.engine.cuda.memory import DeviceMemory
from latens_serving.engine.errors import DeviceUnavailableError
from latens_serving.engine.onnx import (
    Device,
    Engine,
    EngineSettings,
    OnnxEngine,
    input_spec,
    open_cuda_session,
    output_specs,
)

_SLOT_BYTES = 64 << 20
"""What the rows of one run may take of the GPU's memory, and of page-locked memory: twice that,
since two runs are under way."""


def open_engine(graph: bytes, settings: EngineSettings, *, is_free: bool = False) -> Engine:
    """Opens a graph on the device asked for. On a GPU every batch size is run once.

    Args:
        graph: the ONNX file.
        settings: the device, among others.
        is_free: whether rows have several shapes. Buffers cannot be made for all of them, so such
            a graph is run on a GPU without buffers of its own.

    Raises:
        DeviceUnavailableError: `device` is CUDA and the graph cannot run there, all of it.
        DeviceMemoryError: the device has no room for the weights, the buffers or the largest run.
        EngineError: the bytes are no graph that can be served.
    """
    if (
        is_free
        or settings.device is Device.CPU
        or cuda.why_unavailable(settings.device_id) is not None
    ):
        return OnnxEngine(graph, settings)
    try:
        return _open_on_gpu(graph, settings)
    except DeviceUnavailableError:
        if settings.device is Device.CUDA:
            raise
        return OnnxEngine(graph, settings)


def _open_on_gpu(graph: bytes, settings: EngineSettings) -> DeviceEngine:
    cuda.load_libraries()
    memory = CudaMemory(cuda.driver(), settings.device_id)
    try:
        return on_device(graph, settings, memory)
    except BaseException as error:
        # The frames hold the session, which must be gone before the stream that it runs in.
        traceback.clear_frames(error.__traceback__)
        memory.close()
        raise


def on_device(graph: bytes, settings: EngineSettings, memory: DeviceMemory) -> DeviceEngine:
    """Opens a graph on the GPU whose memory is given."""
    stream = memory.new_stream()
    session = open_cuda_session(graph, settings, stream)
    specs = (input_spec(session), *output_specs(session))
    rows = rows_fitting(sum(spec.row_bytes for spec in specs), settings.gpu_batch_rows)
    return DeviceEngine(
        session,
        memory,
        BatchSizes.doubling(rows),
        stream=stream,
        capture=settings.cuda_graphs,
    )


def rows_fitting(row_bytes: int, most: int) -> int:
    """How many rows of so many bytes one run takes: a power of two unless it is `most`."""
    fitting = max(1, _SLOT_BYTES // max(row_bytes, 1))
    return min(most, 1 << (fitting.bit_length() - 1))
