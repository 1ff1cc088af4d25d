"""How long a run of an engine takes, as measured when it is loaded.

A run may take seconds a row, so the measurement is bounded in time: it begins with one row of the
smallest shape, and a larger run is made only if it is expected to end soon.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latens_serving.engine.batch import Shape
from latens_serving.engine.onnx import CPU_PROVIDER, Engine

# A longer run on the CPU would keep calls waiting that come meanwhile.
_CPU_RUN_SECONDS = 0.005
# The same of a part of a large call while small ones come.
_CPU_PART_SECONDS = 0.0005
# But a run takes so many times its start at least, so that starts cost a small part of it, up to a
# run of this length.
_STARTS_OF_A_RUN, _STARTS_OF_A_PART = 20, 10
_LONGEST_CPU_RUN_SECONDS = 0.05
_MEASURED_ROWS = 64
_MEASURED_BYTES = 64 << 20
_MEASUREMENTS = 3
_LONGEST_MEASURED_SECONDS = 0.25
_MOST_ELEMENTS = 1 << 40


@dataclass(frozen=True, slots=True)
class InputShapes:
    """The shapes of an engine's input rows: alike where they are fixed."""

    smallest: Shape
    usual: Shape

    @property
    def usual_elements(self) -> int:
        return math.prod(self.usual)


@dataclass(frozen=True, slots=True)
class RunCost:
    """The time of a run of n elements, as a line through two measurements."""

    start_seconds: float
    element_seconds: float
    inline_seconds: float
    """Runs that take less stay in the event loop."""

    def seconds(self, elements: int) -> float:
        return self.start_seconds + self.element_seconds * elements

    def runs_inline(self, elements: int) -> bool:
        return self.seconds(elements) < self.inline_seconds

    def batch_elements(self, provider: str, row_elements: int) -> int:
        """The elements of the input whose run is not too long; at least one row is run always.

        Args:
            provider: on a GPU the rows are limited, and nothing here.
            row_elements: of a row of the usual shape.
        """
        return self._elements(provider, row_elements, _CPU_RUN_SECONDS, _STARTS_OF_A_RUN)

    def part_elements(self, provider: str, row_elements: int) -> int:
        """As `batch_elements`, of a part of a large call while small calls come."""
        return self._elements(provider, row_elements, _CPU_PART_SECONDS, _STARTS_OF_A_PART)

    def _elements(self, provider: str, row_elements: int, seconds: float, starts: int) -> int:
        if provider != CPU_PROVIDER:
            return _MOST_ELEMENTS
        worth_its_start = min(starts * self.start_seconds, _LONGEST_CPU_RUN_SECONDS)
        most = max(seconds, worth_its_start)
        fitting = int(min(most / max(self.element_seconds, 1e-15), _MOST_ELEMENTS))
        return max(fitting, row_elements)


def measure(engine: Engine, shapes: InputShapes, inline_seconds: float) -> RunCost:
    """Runs the engine a few times, which also warms it."""
    measured: list[tuple[int, float]] = []
    for rows, shape in _runs(engine, shapes):
        elements = rows * math.prod(shape)
        if measured and elements <= measured[-1][0]:
            continue
        if measured and _expected(measured, elements) > _LONGEST_MEASURED_SECONDS:
            break
        measured.append((elements, _run_seconds(engine, rows, shape)))
    return RunCost(*_line_through(measured), inline_seconds)


def _runs(engine: Engine, shapes: InputShapes) -> Iterator[tuple[int, Shape]]:
    """The runs to measure, each larger than the one before."""
    yield 1, shapes.smallest
    yield 1, shapes.usual
    largest = max(tensor.row_bytes for tensor in (engine.input, *engine.outputs))
    row_bytes = max(largest, shapes.usual_elements * engine.input.dtype.itemsize)
    most = max(2, min(_MEASURED_ROWS, _MEASURED_BYTES // row_bytes))
    for rows in (2, 8, most):
        yield min(rows, most), shapes.usual


def _expected(measured: list[tuple[int, float]], elements: int) -> float:
    before, seconds = measured[-1]
    return seconds * elements / before


def _line_through(measured: list[tuple[int, float]]) -> tuple[float, float]:
    """The start and the slope, by the smallest and the largest run; no start of one run alone."""
    (few, short), (many, long) = measured[0], measured[-1]
    if few == many:
        return 0.0, short / few
    slope = max(long - short, 0.0) / (many - few)
    return max(short - slope * few, 0.0), slope


def _run_seconds(engine: Engine, rows: int, shape: Shape) -> float:
    batch = np.zeros((rows, *shape), engine.input.dtype)
    seconds: list[float] = []
    for _ in range(1 + _MEASUREMENTS):  # the first run allocates
        begun = time.perf_counter()
        engine.run(batch)
        seconds.append(time.perf_counter() - begun)
        if seconds[0] > _LONGEST_MEASURED_SECONDS:
            break
    return min(seconds)
