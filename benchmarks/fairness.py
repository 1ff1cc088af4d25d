"""Measures what single images wait beside large batches, and what that costs the large ones.

A server on one core; on another one, 8 callers of one image each, alone and beside a caller whose
calls have 1,024 or 4,096 images. Runs of all servers take turns; figures are medians.

    python benchmarks/fairness.py
    python benchmarks/fairness.py --checkout ../before    also the server of another checkout
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import models
import numpy as np

import load
import processes
from load import Shape
from serve import ENCODE, request
from timing import markdown

SINGLES = Shape(4, 2)
BATCHES = (1024, 4096)
_PRIORITY = -15
_HERE = Path(__file__).parents[1]
_PACKAGES = ("clients/python", "serving")


@dataclass(frozen=True, slots=True)
class Wait:
    """What the callers of single images saw; milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Beside:
    """Single images beside large batches."""

    wait: Wait
    rate: float
    """Images per second of the large batches."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--checkout", type=Path, action="append", default=[], help="another one")
    parser.add_argument("--frontend", default="http2", choices=("http2", "grpcio"))
    parser.add_argument("--repeats", type=int, default=5, help="runs of each cell (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a run (2)")
    options = parser.parse_args()
    places = {"this checkout": _HERE} | {str(path): path for path in options.checkout}
    with ExitStack() as servers:
        addresses = {
            name: servers.enter_context(serving(path.resolve(), options.frontend))
            for name, path in places.items()
        }
        rows = _turns(addresses, options)
    heads = ["alone: p50 / p99 ms"]
    for batch in BATCHES:
        heads += [f"beside {batch}: p50 / p99 ms", f"{batch} alone: images/s", "beside singles"]
    print(markdown("", heads, rows))


def _turns(addresses: dict[str, str], options: argparse.Namespace) -> dict[str, list[str]]:
    singles: dict[str, list[Wait]] = defaultdict(list)
    alone: dict[tuple[str, int], list[float]] = defaultdict(list)
    beside: dict[tuple[str, int], list[Beside]] = defaultdict(list)
    for turn in range(options.repeats):
        print(f"turn {turn + 1} of {options.repeats}", file=sys.stderr)
        for name, address in addresses.items():
            singles[name].append(_singles(address, options.seconds))
            for batch in BATCHES:
                alone[name, batch].append(_bulk(address, batch, options.seconds))
                beside[name, batch].append(_beside(address, batch, options.seconds))
    rows: dict[str, list[str]] = {}
    for name in addresses:
        rows[name] = [_text(singles[name])]
        for batch in BATCHES:
            found = beside[name, batch]
            rows[name].append(_text([each.wait for each in found]))
            rows[name].append(f"{statistics.median(alone[name, batch]):,.0f}")
            rows[name].append(f"{statistics.median(each.rate for each in found):,.0f}")
    return rows


@contextmanager
def serving(checkout: Path, frontend: str) -> Iterator[str]:
    """Runs the server of a checkout on the server's core; gives its address."""
    core, _ = processes.cores()
    path = os.pathsep.join(str(checkout / package) for package in _PACKAGES)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        command = [sys.executable, "-m", "latens_serving", f"--repository={models.repository()}"]
        command += ["--port=0", "--http-port=0", "--drain-delay=0", "--log-format=json"]
        command += ["--log-calls=none", f"--frontend={frontend}"]
        environment = {"PYTHONPATH": path}
        with processes.running(command, log, core=core, environment=environment) as process:
            yield json.loads(processes.wait_for(process, log, '"serving"'))["address"]


def _singles(address: str, seconds: float) -> Wait:
    """Callers of one image each, for about so long."""
    few = _call(address, 1, SINGLES, 64)
    outcome = _call(address, 1, SINGLES, int(seconds * few.calls / few.seconds))
    p50, p99 = np.percentile(outcome.latencies, (50, 99)) * 1e3
    return Wait(float(p50), float(p99))


@contextmanager
def _first() -> Iterator[None]:
    """Lets what this thread starts run before others on its core, where that is allowed.

    The loads share a core: what the small calls wait for there is not the server's doing.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    try:
        yield
    finally:
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, 0)


def _bulk(address: str, batch: int, seconds: float) -> float:
    """One caller of large batches; images per second."""
    few = _call(address, batch, Shape(1, 1), 4)
    calls = max(8, int(seconds * few.calls / few.seconds))
    outcome = _call(address, batch, Shape(1, 1), calls)
    return batch * outcome.calls / outcome.seconds


def _beside(address: str, batch: int, seconds: float) -> Beside:
    """Both at a time: large batches for as long as the single images need."""
    rates: list[float] = []
    over = threading.Event()

    def bulk() -> None:
        while not over.is_set():
            outcome = _call(address, batch, Shape(1, 1), 16)
            rates.append(batch * outcome.calls / outcome.seconds)

    thread = threading.Thread(target=bulk)
    thread.start()
    try:
        with _first():
            wait = _singles(address, seconds)
    finally:
        over.set()
        thread.join()
    return Beside(wait, statistics.median(rates))


def _call(address: str, batch: int, shape: Shape, calls: int) -> load.Outcome:
    _, core = processes.cores()
    return load.run(address, ENCODE, _REQUESTS[batch], shape, max(calls, shape.callers), core)


def _text(waits: list[Wait]) -> str:
    p50 = statistics.median(wait.p50 for wait in waits)
    p99 = statistics.median(wait.p99 for wait in waits)
    return f"{p50:.2f} / {p99:.2f}"


_REQUESTS = {batch: request(batch, "float32") for batch in (1, *BATCHES)}


if __name__ == "__main__":
    main()
