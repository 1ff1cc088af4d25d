"""Measures `--workers`: images per second, and CPU time of the server and of the load.

One worker has a core of its own, and the load another one. Several workers share all cores with the
load, which takes time from them. So the CPU time of both is measured while all cores are busy:
images per CPU second is the rate of a core without the load.

    python benchmarks/workers.py
    python benchmarks/workers.py --workers 1 --workers 4 --connections 64
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import models

import load
import processes
from load import Shape
from serve import ENCODE, request

BATCH = 64


@dataclass(frozen=True, slots=True)
class Run:
    """One run with one number of workers."""

    images_per_second: float
    server_us: float
    """CPU time of the server's processes per image."""
    load_us: float
    """CPU time of the load per image."""
    used: float
    """The number of cores that both kept busy."""
    busiest: float
    """The share of the server's CPU time that its busiest worker took."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--workers", type=int, action="append", help="number of workers; may be repeated (1, 2)"
    )
    parser.add_argument("--connections", type=int, default=8, help="connections of the load (8)")
    parser.add_argument("--calls", type=int, default=4000, help="calls of 64 images per run (4000)")
    parser.add_argument("--repeats", type=int, default=5, help="runs per number of workers (5)")
    options = parser.parse_args()
    shape = Shape(options.connections, 1)
    body = request(BATCH, "float32")
    runs: dict[int, list[Run]] = {count: [] for count in options.workers or (1, 2)}
    with ExitStack() as servers:
        up = {count: servers.enter_context(several(count)) for count in runs}
        for turn in range(options.repeats + 1):
            for count, (address, pid) in up.items():
                run = measured(address, pid, body, shape, options.calls, _places(count)[1])
                if turn:  # the first run warms up
                    runs[count].append(run)
    print(
        "| workers | images/s | server us per image | images a CPU second | load us per image |",
        end="",
    )
    print(" cores busy | busiest |\n|---|---|---|---|---|---|---|")
    for count, found in runs.items():
        names = [field.name for field in fields(Run)]
        medians = (statistics.median(getattr(run, name) for run in found) for name in names)
        rate, server, generator, used, busiest = medians
        print(f"| {count} | {rate:,.0f} | {server:.2f} | {1e6 / server:,.0f} |", end="")
        print(f" {generator:.2f} | {used:.2f} of {os.cpu_count()} | {busiest:.0%} |")


@contextmanager
def several(workers: int) -> Iterator[tuple[str, int]]:
    """Runs a server with `workers` processes; its address and the process id of the supervisor."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        command = [sys.executable, "-m", "latens_serving", f"--repository={models.repository()}"]
        command += ["--port=0", "--http-port=0", "--drain-delay=0", "--log-format=json"]
        command += ["--frontend=http2", f"--workers={workers}"]
        with processes.running(command, log, core=_places(workers)[0]) as process:
            yield json.loads(processes.wait_for(process, log, '"serving"'))["address"], process.pid


def _places(workers: int) -> tuple[set[int], set[int]]:
    """The cores of the server and of the load."""
    everywhere = os.sched_getaffinity(0)
    return processes.cores() if workers == 1 else (everywhere, everywhere)


def measured(address: str, pid: int, body: bytes, shape: Shape, calls: int, core: set[int]) -> Run:
    """Measures one run, with the load on `core`."""
    before = _clocks(pid)
    outcome = load.run(address, ENCODE, body, shape, calls, core)
    seconds, server, generator, *workers = (
        after - former for former, after in zip(before, _clocks(pid), strict=True)
    )
    images = outcome.calls * BATCH
    return Run(
        images_per_second=images / outcome.seconds,
        server_us=1e6 * server / images,
        load_us=1e6 * generator / images,
        used=(server + generator) / seconds,
        busiest=max(workers, default=server) / server,
    )


def _clocks(pid: int) -> list[float]:
    """Time, CPU time of the server and of the load, and CPU time of each worker."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    workers = [processes.cpu_seconds(child) for child in processes.children(pid)]
    generator = used.ru_utime + used.ru_stime
    return [time.perf_counter(), processes.cpu_seconds(pid), generator, *workers]


if __name__ == "__main__":
    main()
