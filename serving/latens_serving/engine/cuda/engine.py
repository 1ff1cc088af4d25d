"""The engine for a device with its own memory: padded batches, bound buffers, overlapping copies.

A batch is cut into runs of known sizes. Each run uses one of two slots: its rows are written to
page-locked memory, copied to the device, run on buffers at fixed addresses, and copied back. While
one slot computes, the other one copies.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from latens_serving.engine.batch_sizes import BatchSizes, Chunk
from latens_serving.engine.cuda.memory import DeviceMemory
from latens_serving.engine.errors import EngineError
from latens_serving.engine.onnx import TensorSpec, classified, input_spec, output_specs

SLOTS = 2
_WARM_UP_RUNS = 3  # allocate; capture, if CUDA graphs are on; replay
_RUN_ASYNCHRONOUSLY = "disable_synchronize_execution_providers"
_CAPTURED_GRAPH = "gpu_graph_id"


class _Buffer:
    """A tensor of a slot, in the memory of the host and of the device."""

    def __init__(self, spec: TensorSpec, memory: DeviceMemory, rows: int) -> None:
        host = memory.host_buffer(rows * spec.row_bytes)
        self.spec = spec
        self.row_bytes = spec.row_bytes
        self.rows: NDArray[Any] = host.view(spec.dtype).reshape(rows, *spec.row_shape)
        self.host_address = int(host.ctypes.data)
        self.device_address = memory.device_buffer(rows * spec.row_bytes)


@dataclasses.dataclass(frozen=True, slots=True)
class _Streams:
    copy_in: int
    compute: int
    copy_out: int


class _Slot:
    """Buffers for one run of any size, with the bindings that point to them."""

    def __init__(
        self,
        session: ort.InferenceSession,
        memory: DeviceMemory,
        streams: _Streams,
        rows: int,
    ) -> None:
        self._session, self._memory, self._streams = session, memory, streams
        self._input = _Buffer(input_spec(session), memory, rows)
        self._outputs = [_Buffer(spec, memory, rows) for spec in output_specs(session)]
        self._loaded, self._computed, self._fetched = (memory.new_event() for _ in range(3))
        self._bindings: dict[int, tuple[ort.IOBinding, ort.RunOptions]] = {}
        self._chunk: Chunk | None = None

    def bind(self, rows: int, graph_id: int | None) -> None:
        """Prepares runs of one size; with a graph id they are captured and replayed."""
        binding = self._session.io_binding()
        kind, device = self._memory.kind, self._memory.device_id
        for buffer, bind in [
            (self._input, binding.bind_input),
            *((output, binding.bind_output) for output in self._outputs),
        ]:
            spec = buffer.spec
            shape = (rows, *spec.row_shape)
            bind(spec.name, kind, device, spec.dtype.type, shape, buffer.device_address)
        options = ort.RunOptions()
        options.add_run_config_entry(_RUN_ASYNCHRONOUSLY, "1")
        options.add_run_config_entry(_CAPTURED_GRAPH, str(-1 if graph_id is None else graph_id))
        self._bindings[rows] = binding, options

    def start(self, inputs: NDArray[Any], chunk: Chunk) -> None:
        """Starts to run rows of a batch. The padding keeps the values of earlier rows."""
        memory, streams, source = self._memory, self._streams, self._input
        np.copyto(source.rows[: chunk.rows], inputs[chunk.span], casting="no")
        size = chunk.rows * source.row_bytes
        memory.copy_in(source.device_address, source.host_address, size, streams.copy_in)
        memory.record(self._loaded, streams.copy_in)
        memory.wait(streams.compute, self._loaded)
        self._session.run_with_iobinding(*self._bindings[chunk.size])
        memory.record(self._computed, streams.compute)
        memory.wait(streams.copy_out, self._computed)
        for output in self._outputs:
            size = chunk.rows * output.row_bytes
            memory.copy_out(output.host_address, output.device_address, size, streams.copy_out)
        memory.record(self._fetched, streams.copy_out)
        self._chunk = chunk

    def collect(self, results: tuple[NDArray[Any], ...]) -> None:
        """Waits for the run that was started last, if any, and copies its rows to the results."""
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            return
        self._memory.synchronize(self._fetched)
        for output, result in zip(self._outputs, results, strict=True):
            result[chunk.span] = output.rows[: chunk.rows]

    def abandon(self) -> None:
        """Discards the run that was started last: its batch failed."""
        self._chunk = None

    def release(self) -> None:
        """Drops the bindings, which point into the session."""
        self._bindings.clear()


class DeviceEngine:
    """An `Engine` over a session on a device. Thread-safe: concurrent runs wait for each other."""

    device_fallback = False

    def __init__(
        self,
        session: ort.InferenceSession,
        memory: DeviceMemory,
        sizes: BatchSizes,
        *,
        stream: int,
        capture: bool = False,
    ) -> None:
        """Takes ownership of a session and its memory, and runs every size in both slots.

        Args:
            session: a session that runs in `stream`.
            memory: the memory of the session's device.
            sizes: the batch sizes to run.
            stream: the stream of the session.
            capture: whether each size is captured as a CUDA graph, and replayed.

        Raises:
            DeviceMemoryError: the device has too little memory for the buffers or the largest run.
            EngineError: any other failure.
        """
        self.provider: str = session.get_providers()[0]
        self.input = input_spec(session)
        self.outputs = output_specs(session)
        self.sizes = sizes
        self._session: ort.InferenceSession | None = session
        self._memory = memory
        self._turn = threading.Lock()
        try:
            memory.activate()
            streams = _Streams(memory.new_stream(), stream, memory.new_stream())
            self._slots = [_Slot(session, memory, streams, sizes.largest) for _ in range(SLOTS)]
            self._warm_up(capture)
        except Exception as error:
            raise classified(error) from error

    def run(self, inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Runs a batch of any size; see `Engine.run`."""
        if inputs.dtype != self.input.dtype or inputs.shape[1:] != self.input.row_shape:
            raise EngineError(
                f"{self.input.name}: {inputs.dtype}{list(inputs.shape)} does not fit "
                f"{self.input.dtype} rows of {list(self.input.row_shape)}"
            )
        results = _results(self.outputs, len(inputs))
        with self._turn:
            if self._session is None:
                raise EngineError("the engine is closed")
            try:
                self._run(inputs, results)
            except Exception as error:
                for slot in self._slots:
                    slot.abandon()
                raise classified(error) from error
        return results

    def close(self) -> None:
        with self._turn:
            if self._session is None:
                return
            for slot in self._slots:
                slot.release()
            self._slots = []
            self._session = None
            self._memory.close()

    def _run(self, inputs: NDArray[Any], results: tuple[NDArray[Any], ...]) -> None:
        self._memory.activate()
        count = 0
        for count, chunk in enumerate(self.sizes.chunks(len(inputs)), start=1):
            slot = self._slots[count % SLOTS]
            slot.collect(results)
            slot.start(inputs, chunk)
        for later in range(1, SLOTS + 1):  # the oldest run first
            self._slots[(count + later) % SLOTS].collect(results)

    def _warm_up(self, capture: bool) -> None:
        """Runs every size once, the largest first, so that memory is allocated in one piece."""
        rows = np.zeros((self.sizes.largest, *self.input.row_shape), self.input.dtype)
        results = _results(self.outputs, self.sizes.largest)
        for number, size in enumerate(reversed(self.sizes.sizes)):
            for index, slot in enumerate(self._slots):
                slot.bind(size, number * SLOTS + index + 1 if capture else None)
                for _ in range(_WARM_UP_RUNS):
                    slot.start(rows, Chunk(0, size, size))
                    slot.collect(results)


def _results(specs: tuple[TensorSpec, ...], rows: int) -> tuple[NDArray[Any], ...]:
    return tuple(np.empty((rows, *spec.row_shape), spec.dtype) for spec in specs)
