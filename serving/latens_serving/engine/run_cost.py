"""How long a run of an engine takes, as measured when it is loaded."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from latens_serving.engine.onnx import CPU_PROVIDER, Engine

# A longer run on the CPU would keep other calls waiting.
_LONGEST_CPU_RUN_SECONDS = 0.05
_SMALLEST_BATCH = 16
_MEASURED_ROWS = 64
_MEASURED_BYTES = 64 << 20
_MEASUREMENTS = 3


@dataclass(frozen=True, slots=True)
class RunCost:
    """The time of a run of n rows, as a line through two measurements."""

    start_seconds: float
    row_seconds: float
    inline_seconds: float
    """Runs that take less stay in the event loop."""

    def runs_inline(self, rows: int) -> bool:
        return self.start_seconds + self.row_seconds * rows < self.inline_seconds

    def batch_rows(self, provider: str, most: int) -> int:
        """The largest power of two whose run is not too long; on a GPU, `most`."""
        if provider != CPU_PROVIDER:
            return most
        fitting = int(_LONGEST_CPU_RUN_SECONDS / max(self.row_seconds, 1e-9))
        return min(most, max(_SMALLEST_BATCH, 1 << max(fitting.bit_length() - 1, 0)))


def measure(engine: Engine, inline_seconds: float) -> RunCost:
    """Runs the engine a few times, which also warms it."""
    most_bytes = max(spec.row_bytes for spec in (engine.input, *engine.outputs))
    rows = max(2, min(_MEASURED_ROWS, _MEASURED_BYTES // max(most_bytes, 1)))
    one, many = (_run_seconds(engine, count) for count in (1, rows))
    row = max(many - one, 0.0) / (rows - 1)
    return RunCost(max(one - row, 0.0), row, inline_seconds)


def _run_seconds(engine: Engine, rows: int) -> float:
    batch = np.zeros((rows, *engine.input.row_shape), engine.input.dtype)
    engine.run(batch)  # the first run allocates
    seconds = []
    for _ in range(_MEASUREMENTS):
        begun = time.perf_counter()
        engine.run(batch)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
