"""CPU time of ONNX Runtime in process, by variant of the graph and by option of the session.

Latens chooses by these tables how graphs are exported, which precisions there are, and how sessions
are configured. CPU microseconds per image, one thread unless a row says otherwise; the rows of a
table take turns, figures are medians.

    python benchmarks/engine.py [--short] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

import graphs
from timing import Call, Cost, markdown, take_turns

BATCHES = (1, 8, 64, 1024)
ROUNDS = 5

Table = dict[str, dict[int, float]]
Change = Callable[[ort.SessionOptions], object]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a rough answer within a minute")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    seconds = 0.01 if options.short else 0.06
    tables = {
        **{name: _graphs(name, seconds) for name in ("vae-mlp", "vae-conv")},
        "options": _options(seconds),
    }
    if options.json:
        print(json.dumps({"machine": _machine(), "cpu_us_per_image": tables}, indent=2))
        return
    print(f"{_machine()}\n")
    for name, table in tables.items():
        heads = [f"batch {batch}" for batch in next(iter(table.values()))]
        rows = {row: [f"{value:.2f}" for value in cells.values()] for row, cells in table.items()}
        print(markdown(f"{name}: CPU us per image", heads, rows) + "\n")


def _graphs(architecture: str, seconds: float) -> Table:
    """All variants of a network's two graphs, and the conversions that they save."""
    batches = BATCHES if architecture == "vae-mlp" else BATCHES[:3]
    encoders, decoders = graphs.encoders(architecture), graphs.decoders(architecture)
    sources: dict[str, Callable[[int], Call]] = {
        **{f"encoder, {name}": _runs(graph) for name, graph in encoders.items()},
        "encoder, float32 after numpy": _after_numpy(encoders["float32"]),
        **{f"decoder, {name}": _runs(graph) for name, graph in decoders.items()},
        "decoder, float32 before numpy": _before_numpy(decoders["float32"]),
    }
    return _table(sources, batches, seconds)


def _options(seconds: float) -> Table:
    """The MLP's encoder with options of ONNX Runtime, one changed at a time."""
    graph = graphs.encoders("vae-mlp")["float32"]
    level = ort.GraphOptimizationLevel
    changes: dict[str, Change] = {
        "as served": lambda options: None,
        "2 threads": _entry("session.intra_op.allow_spinning", "0", threads=2),
        "2 threads, spinning": _entry("session.intra_op.allow_spinning", "1", threads=2),
        "no arena": lambda options: setattr(options, "enable_cpu_mem_arena", False),
        "no memory pattern": lambda options: setattr(options, "enable_mem_pattern", False),
        "basic optimizations": lambda options: setattr(
            options, "graph_optimization_level", level.ORT_ENABLE_BASIC
        ),
        "denormals are zero": _entry("session.set_denormal_as_zero", "1"),
        "weights not packed": _entry("session.disable_prepacking", "1"),
    }
    sources = {name: _runs(graph, change) for name, change in changes.items()}
    return _table({**sources, "outputs bound": _bound(graph)}, BATCHES, seconds)


def _table(
    sources: Mapping[str, Callable[[int], Call]], batches: tuple[int, ...], seconds: float
) -> Table:
    table: Table = {name: {} for name in sources}
    for batch in batches:
        calls = {name: source(batch) for name, source in sources.items()}
        costs: dict[str, Cost] = take_turns(calls, ROUNDS, seconds)
        for name, cost in costs.items():
            table[name][batch] = cost.cpu / batch * 1e6
    return table


def _inputs(session: ort.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    source = session.get_inputs()[0]
    if source.name == "latents":
        return {"latents": graphs.prior_draws(batch)}
    if source.type == "tensor(uint8)":
        return {"images": np.ascontiguousarray(graphs.byte_images()[:batch].numpy())}
    return {"images": graphs.pixels(batch)}


def _runs(graph: bytes, change: Change | None = None) -> Callable[[int], Call]:
    session = _session(graph, change)

    def source(batch: int) -> Call:
        inputs = _inputs(session, batch)
        return lambda: session.run(None, inputs)

    return source


def _after_numpy(graph: bytes) -> Callable[[int], Call]:
    session = _session(graph)

    def source(batch: int) -> Call:
        received = graphs.byte_images()[:batch].numpy()
        scale = np.float32(1 / 255)
        return lambda: session.run(None, {"images": np.multiply(received, scale, dtype=np.float32)})

    return source


def _before_numpy(graph: bytes) -> Callable[[int], Call]:
    session = _session(graph)

    def source(batch: int) -> Call:
        inputs = _inputs(session, batch)

        def call() -> np.ndarray:
            images = session.run(None, inputs)[0] * np.float32(255)
            bytes_out: np.ndarray = np.rint(images, out=images).astype(np.uint8)
            return bytes_out

        return call

    return source


def _bound(graph: bytes) -> Callable[[int], Call]:
    session = _session(graph)

    def source(batch: int) -> Call:
        binding = session.io_binding()
        binding.bind_cpu_input("images", graphs.pixels(batch))
        outputs = [np.empty((batch, graphs.LATENT_SIZE), np.float32) for _ in range(2)]
        for name, array in zip(("mean", "log_var"), outputs, strict=True):
            address = array.ctypes.data
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, address)

        def call(kept: Any = outputs) -> Any:
            session.run_with_iobinding(binding)
            return kept

        return call

    return source


def _session(graph: bytes, change: Change | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if change is None:
        change = _entry("session.intra_op.allow_spinning", "0")
    change(options)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _entry(name: str, value: str, threads: int = 1) -> Change:
    def change(options: ort.SessionOptions) -> None:
        options.intra_op_num_threads = threads
        options.add_session_config_entry(name, value)

    return change


def _machine() -> str:
    return f"{platform.processor() or platform.machine()}, ONNX Runtime {ort.__version__}"


if __name__ == "__main__":
    main()
