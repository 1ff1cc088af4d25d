"""Load by the Latens client, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time

import numpy as np

from load import Outcome, Shape
from measuring import CELLS, Cell, Target, cell_of


def measure_own_client(target: Target, seconds: float, core: set[int]) -> list[Cell]:
    """All cells, with `latens.AsyncClient` as the load."""
    return [_measure(target, batch, shape, seconds, core) for batch, shape in CELLS]


def _measure(target: Target, batch: int, shape: Shape, seconds: float, core: set[int]) -> Cell:
    command = [sys.executable, __file__, target.address, str(batch), str(shape.callers)]
    process = subprocess.Popen(
        [*command, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()  # it is warm
        before = target.cpu_seconds()
        process.stdin.write("go\n")
        process.stdin.flush()
        found = json.loads(process.stdout.readline())
        used = target.cpu_seconds() - before
    outcome = Outcome(len(found["latencies"]), found["seconds"], np.array(found["latencies"]))
    return cell_of(batch, shape, used, outcome)


async def _load(address: str, batch: int, callers: int, seconds: float) -> None:
    import latens

    images = np.random.default_rng(0).random((batch, 1, 28, 28), np.float32)
    latencies: list[float] = []

    async def call_until(limit: float) -> None:
        while (begun := time.perf_counter()) < limit:
            await client.encode(images)
            latencies.append(time.perf_counter() - begun)

    async def together(length: float) -> float:
        begun = time.perf_counter()
        await asyncio.gather(*(call_until(begun + length) for _ in range(callers)))
        return time.perf_counter() - begun

    async with latens.AsyncClient(address) as client:
        await together(seconds / 3)
        latencies.clear()
        print("warm", flush=True)
        sys.stdin.readline()
        length = await together(seconds)
        print(json.dumps({"seconds": length, "latencies": latencies}), flush=True)


if __name__ == "__main__":
    asyncio.run(_load(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
