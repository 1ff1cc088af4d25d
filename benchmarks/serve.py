"""Measures the server: CPU time per image, images per second, and latency.

Starts `latens-serve` on one core and calls it from another one: with h2load (or, if it is not
installed, over plain sockets) and with the Latens client. Runs of all servers and cells take turns,
so that noise affects all of them equally; figures are medians.

    python benchmarks/serve.py                      both front ends
    python benchmarks/serve.py --short --json       one front end, within 50 s
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import models
import numpy as np

import load
import measuring
import processes
from measuring import CELLS, Cell, Target
from own_client import measure_own_client

ENCODE = "/latens.v1.LatentService/Encode"
BACK_TO_BACK = 10_000


def main() -> None:
    """Measures and prints."""
    options = _parse()
    _, load_core = processes.cores()
    repeats, seconds = (3, 0.45) if options.short else (options.repeats, 0.9)
    with ExitStack() as servers:
        targets = [
            servers.enter_context(serving(name, dtype=options.dtype)) for name in options.frontend
        ]
        limits, cells = take_turns(targets, repeats, seconds, load_core)
        largest = {t.name: measuring.back_to_back(t, BACK_TO_BACK, load_core) for t in targets}
        own: dict[str, list[Cell]] = {}
        if not options.short:
            own = {t.name: measure_own_client(t, seconds, load_core) for t in targets}
    if options.json:
        print(json.dumps(_report(limits, cells, largest, own)))
        return
    print(measuring.table(cells, limits))
    for name, cell in largest.items():
        print(f"\n{name}: {BACK_TO_BACK} calls in sequence: p50 {cell.p50_ms:.3f} ms, ", end="")
        print(f"p99 {cell.p99_ms:.3f} ms, largest {cell.max_ms:.2f} ms")
    if own:
        rows = {f"{name}, load by the Latens client": group for name, group in own.items()}
        print("\n" + measuring.table(rows, {}))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--short", action="store_true", help="one front end, within 50 s")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    parser.add_argument("--repeats", type=int, default=5, help="runs per cell (5)")
    parser.add_argument(
        "--frontend",
        action="append",
        choices=("http2", "grpcio"),
        help="a front end to measure; may be repeated",
    )
    parser.add_argument(
        "--dtype", choices=("float32", "uint8"), default="float32", help="element type of images"
    )
    options = parser.parse_args()
    options.frontend = options.frontend or (["http2"] if options.short else ["http2", "grpcio"])
    return options


@contextmanager
def serving(frontend: str, *flags: str, dtype: str = "float32") -> Iterator[Target]:
    """Runs a server with that front end, on the server's core, for images of that type."""
    server_core, _ = processes.cores()
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        command = [sys.executable, "-m", "latens_serving", f"--repository={models.repository()}"]
        command += ["--port=0", "--http-port=0", "--drain-delay=0", "--log-format=json"]
        command += [f"--frontend={frontend}", *flags]
        with processes.running(command, log, core=server_core) as process:
            line = processes.wait_for(process, log, '"serving"')
            yield Target(
                name=f"latens, {frontend}",
                address=json.loads(line)["address"],
                path=ENCODE,
                requests={batch: request(batch, dtype) for batch in measuring.BATCHES},
                cpu_seconds=lambda: processes.cpu_seconds(process.pid),
            )


def request(batch: int, dtype: str) -> bytes:
    """A serialized Encode request with random images."""
    from latens.tensors import to_message
    from latens.v1 import latens_pb2 as pb

    images = np.random.default_rng(0).random((batch, *models.IMAGE_SHAPE), np.float32)
    if dtype == "uint8":
        images = (images * 255).astype(np.uint8)
    return pb.EncodeRequest(images=to_message(images)).SerializeToString()


def take_turns(
    targets: list[Target], repeats: int, seconds: float, core: set[int]
) -> tuple[dict[int, float], dict[str, list[Cell]]]:
    """The medians of each cell of each server, and of the graph in process."""
    runs: dict[str, dict[int, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    limits: dict[int, list[float]] = defaultdict(list)
    with _pinned() as graph:
        for turn in range(repeats):
            print(f"run {turn + 1} of {repeats} ({load.generator()}) ...", file=sys.stderr)
            for batch in measuring.BATCHES:
                limit = measuring.in_process(graph, models.IMAGE_SHAPE, batch, seconds / 3)
                limits[batch].append(limit)
            for place, (batch, shape) in enumerate(CELLS):
                for target in targets:
                    cell = measuring.measure(target, batch, shape, seconds, core)
                    runs[target.name][place].append(cell)
    medians = {
        name: [measuring.medians(cells[place]) for place in sorted(cells)]
        for name, cells in runs.items()
    }
    return {batch: float(np.median(values)) for batch, values in limits.items()}, medians


@contextmanager
def _pinned() -> Iterator[Any]:
    """The encoder in this process, with one thread, on the server's core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        models.encoder(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    server_core, _ = processes.cores()
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, server_core)
    try:
        yield lambda images: session.run(None, {name: images})
    finally:
        os.sched_setaffinity(0, everywhere)


def _report(
    limits: dict[int, float],
    cells: dict[str, list[Cell]],
    largest: dict[str, Cell],
    own: dict[str, list[Cell]],
) -> dict[str, Any]:
    """The figures of the first server, as other programs expect them, and of the others by name."""
    first = next(iter(cells))
    report: dict[str, Any] = {
        "in_process_us_per_image": {str(batch): value for batch, value in limits.items()},
        "cells": measuring.as_json(cells[first]),
        "server": first,
        "load": load.generator(),
        "back_to_back": measuring.as_json([largest[first]])[0],
    }
    if own:
        report["own_client_cells"] = measuring.as_json(own[first])
    others = {name: measuring.as_json(group) for name, group in cells.items() if name != first}
    return report | ({"others": others} if others else {})


if __name__ == "__main__":
    main()
