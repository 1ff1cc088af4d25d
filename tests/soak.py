"""Runs a server under steady load; its memory, files and threads must not grow.

`python tests/soak.py --repository models --minutes 3` prints a line now and then, and fails when
the second half of what follows the warming-up holds more than the first.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from process_figures import files_of, memory_of, threads_of
from server_process import Server, running_server

_CALLERS = 16
_CALLS_A_CONNECTION = 200
_WARM_SHARE = 0.4
MOST_GROWTH_BYTES = 24 << 20


@dataclass(frozen=True)
class Measure:
    """A server at one moment."""

    seconds: float
    calls: int
    memory: int
    files: int
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.seconds:7.1f} s {self.calls:9d} calls {self.memory / 2**20:7.1f} MiB "
            f"{self.files:4d} files {self.threads:3d} threads"
        )


class Soak:
    """Callers of all kinds that come, call, leave early now and then, and go."""

    def __init__(self, server: Server, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        self._calls = 0
        self.measures: list[Measure] = []

    async def run(self) -> None:
        begun = time.monotonic()
        end = begun + self._seconds
        async with asyncio.TaskGroup() as tasks:
            for caller in range(_CALLERS):
                tasks.create_task(self._call_until(end, caller))
            while time.monotonic() < end:
                await asyncio.sleep(min(self._seconds / 20, 60))
                self._measure(time.monotonic() - begun)

    def _measure(self, seconds: float) -> None:
        pid = self._server.pid
        measure = Measure(seconds, self._calls, memory_of(pid), files_of(pid), threads_of(pid))
        self.measures.append(measure)
        print(measure, flush=True)

    async def _call_until(self, end: float, caller: int) -> None:
        random = np.random.default_rng(caller)
        own = [("grpc.use_local_subchannel_pool", 1)]
        while time.monotonic() < end:
            async with grpc.aio.insecure_channel(self._server.address, own) as channel:
                stub = latens_pb2_grpc.LatentServiceStub(channel)
                for _ in range(_CALLS_A_CONNECTION):
                    await self._one(stub, random)
                    self._calls += 1
                    if time.monotonic() > end:
                        return

    async def _one(self, stub: Any, random: np.random.Generator) -> None:
        rows = int(random.choice([1, 1, 1, 8, 64, 512]))
        kind = random.integers(10)
        if kind == 0:
            call = stub.Sample(pb.SampleRequest(count=rows), timeout=0.001)
            await asyncio.wait([asyncio.ensure_future(call.code())])
        elif kind == 1:
            call = stub.Sample(pb.SampleRequest(count=rows), timeout=60)
            await asyncio.sleep(0)
            call.cancel()
        elif kind < 5:
            await stub.Sample(pb.SampleRequest(count=rows), timeout=60)
        else:
            images = random.random((rows, 1, 28, 28), np.float32)
            await stub.Encode(pb.EncodeRequest(images=to_message(images)), timeout=60)


def check_flat(measures: list[Measure]) -> None:
    """Fails if the second half holds more than the first, without the warm-up."""
    steady = measures[int(len(measures) * _WARM_SHARE) :]
    half = len(steady) // 2
    first, second = steady[:half], steady[half:]
    growth = statistics.median(m.memory for m in second) - statistics.median(
        m.memory for m in first
    )
    assert growth < MOST_GROWTH_BYTES, f"memory grew by {growth / 2**20:.1f} MiB"
    assert max(m.threads for m in second) <= max(m.threads for m in first) + 2
    assert max(m.files for m in second) <= max(m.files for m in first) + _CALLERS
    print(f"flat: {growth / 2**20:+.1f} MiB from the first half to the second")


def main() -> None:
    """Runs it as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("models"))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--frontend", default="http2", choices=("http2", "grpcio"))
    chosen = parser.parse_args()
    flags = ("--log-calls=none", f"--frontend={chosen.frontend}")
    with running_server(chosen.repository, *flags) as server:
        soak = Soak(server, chosen.minutes * 60)
        asyncio.run(soak.run())
    check_flat(soak.measures)


if __name__ == "__main__":
    main()
