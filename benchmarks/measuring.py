"""Cells of the result table: CPU time per image, rate and latency of a server under a load."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

import load
from load import Shape

BATCHES = (1, 64, 1024)
CELLS: tuple[tuple[int, Shape], ...] = (
    (1, Shape(1, 1)),
    (1, Shape(4, 4)),
    (1, Shape(8, 8)),
    (64, Shape(4, 1)),
    (1024, Shape(1, 1)),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement, or the medians of several."""

    batch: int
    callers: int
    cpu_us_per_image: float
    images_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Target:
    """A server to measure."""

    name: str
    address: str
    path: str
    requests: Mapping[int, bytes]
    """The serialized message for each batch size."""
    cpu_seconds: Callable[[], float]


def measure(target: Target, batch: int, shape: Shape, seconds: float, core: set[int]) -> Cell:
    """Measures one cell in a run of about `seconds` seconds, after a short warm-up run."""
    request = target.requests[batch]

    def calls(count: int) -> load.Outcome:
        return load.run(target.address, target.path, request, shape, count, core)

    few = calls(4 * shape.callers)
    warm = calls(max(4 * shape.callers, int(0.08 * few.calls / few.seconds)))
    count = max(8 * shape.callers, int(seconds * warm.calls / warm.seconds))
    before = target.cpu_seconds()
    outcome = calls(count)
    used = target.cpu_seconds() - before
    return cell_of(batch, shape, used, outcome)


def cell_of(batch: int, shape: Shape, used: float, outcome: load.Outcome) -> Cell:
    """The cell of a run that took `used` seconds of CPU time."""
    images = outcome.calls * batch
    p50, p99 = np.percentile(outcome.latencies, (50, 99)) * 1e3
    return Cell(
        batch=batch,
        callers=shape.callers,
        cpu_us_per_image=used / images * 1e6,
        images_per_second=images / outcome.seconds,
        p50_ms=float(p50),
        p99_ms=float(p99),
        max_ms=float(outcome.latencies.max() * 1e3),
    )


def back_to_back(target: Target, calls: int, core: set[int]) -> Cell:
    """Measures the largest latency: calls of one image, one at a time, in one run."""
    request, shape = target.requests[1], Shape(1, 1)
    load.run(target.address, target.path, request, shape, calls // 10, core)
    before = target.cpu_seconds()
    outcome = load.run(target.address, target.path, request, shape, calls, core)
    return cell_of(1, shape, target.cpu_seconds() - before, outcome)


def medians(cells: Sequence[Cell]) -> Cell:
    """The median of each figure over runs of a cell, and the maximum of the largest latency."""

    def median(name: str) -> float:
        return float(statistics.median(getattr(cell, name) for cell in cells))

    return Cell(
        batch=cells[0].batch,
        callers=cells[0].callers,
        cpu_us_per_image=median("cpu_us_per_image"),
        images_per_second=median("images_per_second"),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        max_ms=max(cell.max_ms for cell in cells),
    )


def in_process(
    run: Callable[[np.ndarray], object], shape: tuple[int, ...], batch: int, seconds: float
) -> float:
    """CPU microseconds per image of a graph that is called in this process."""
    images = np.random.default_rng(0).random((batch, *shape), np.float32)
    run(images)
    rounds = 0
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        run(images)
        rounds += 1
    return (time.process_time() - cpu) / (rounds * batch) * 1e6


def table(rows: Mapping[str, Sequence[Cell]], limit: Mapping[int, float]) -> str:
    """The table of results, in Markdown."""
    heads = [f"b{batch} c{shape.callers}" for batch, shape in CELLS]
    lines = ["| server CPU, us per image | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(CELLS) + 1) + "|")
    if limit:
        values = [f"{limit[batch]:.1f}" for batch, _ in CELLS]
        lines.append("| ONNX Runtime in process | " + " | ".join(values) + " |")
    for name, cells in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{c.cpu_us_per_image:.1f}" for c in cells) + " |")
    lines += ["", "| images/s · p50 / p99 / max ms | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(CELLS) + 1) + "|")
    lines += [
        f"| {name} | " + " | ".join(map(_speed, cells)) + " |" for name, cells in rows.items()
    ]
    return "\n".join(lines)


def _speed(cell: Cell) -> str:
    latency = f"{cell.p50_ms:.2f} / {cell.p99_ms:.2f} / {cell.max_ms:.1f}"
    return f"{cell.images_per_second:,.0f} · {latency}"


def as_json(cells: Iterable[Cell]) -> list[dict[str, float]]:
    return [json.loads(json.dumps(asdict(cell))) for cell in cells]
