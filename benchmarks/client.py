"""Compares the CPU time per image of the Latens client with that of a bare gRPC channel.

The bare channel sends a serialized message and receives bytes: the minimum for a Python program
with gRPC. The client takes an array and returns arrays. Both make the same calls to the same
server, which runs on another core, in turns; figures are medians.

    python benchmarks/client.py
    python benchmarks/client.py --short --json
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import grpc
import models
import numpy as np
from numpy.typing import NDArray

import latens
import processes
from latens import wire
from latens.channel import Connection
from latens.v1 import latens_pb2 as pb
from serve import ENCODE, serving

BATCHES = (1, 64, 1024)
IN_FLIGHT = 8
"""Concurrent calls of the asynchronous clients."""


@dataclass(frozen=True, slots=True)
class Row:
    """The channel and the client at one batch size, in CPU microseconds per image."""

    api: str
    batch: int
    channel_us: float
    client_us: float

    @property
    def ratio(self) -> float:
        return self.client_us / self.channel_us


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--short", action="store_true", help="fewer and shorter runs")
    parser.add_argument("--json", action="store_true", help="print JSON on stdout")
    parser.add_argument("--frontend", default="grpcio", choices=("http2", "grpcio"))
    options = parser.parse_args()
    repeats, seconds = (5, 0.15) if options.short else (15, 0.4)
    _, core = processes.cores()
    with serving(options.frontend) as target:
        os.sched_setaffinity(0, core)
        rows = sync_rows(target.address, repeats, seconds)
        rows += asyncio.run(async_rows(target.address, repeats, seconds))
    if options.json:
        print(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows]))
        return
    print(f"| {'':5} | batch | channel us/image | client us/image | ratio |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.api:5} | {row.batch:5} | {row.channel_us:16.2f} | {row.client_us:15.2f} |"
            f" {row.ratio:5.2f} |"
        )


def payloads(batch: int) -> tuple[Iterator[NDArray[np.float32]], Iterator[bytes]]:
    """Different images and their messages, again and again.

    A single payload would stay in the cache of the CPU, unlike those of real programs.
    """
    generator = np.random.default_rng(0)
    images = [
        generator.random((batch, *models.IMAGE_SHAPE), np.float32) for _ in range(2 * IN_FLIGHT)
    ]
    messages = [wire.serialize(pb.EncodeRequest(), {"images": array}) for array in images]
    return itertools.cycle(images), itertools.cycle(messages)


def sync_rows(address: str, repeats: int, seconds: float) -> list[Row]:
    """`Client` and a channel with the same options, one call at a time."""
    connection = Connection(address)
    rows = []
    with (
        latens.Client(address) as client,
        grpc.insecure_channel(connection.location().target, connection.options()) as channel,
    ):
        bare: Any = channel.unary_unary(ENCODE)
        for batch in BATCHES:
            images, messages = payloads(batch)

            def by_channel(messages: Iterator[bytes] = messages) -> None:
                bare(next(messages), timeout=60)

            def by_client(images: Iterator[NDArray[np.float32]] = images) -> None:
                client.encode(next(images))

            costs = in_turns([by_channel, by_client], repeats, seconds)
            rows.append(Row("sync", batch, *(1e6 * cost / batch for cost in costs)))
    return rows


def in_turns(
    actions: list[Callable[[], None]], repeats: int, seconds: float
) -> tuple[float, float]:
    """CPU seconds of each action, medians over runs that take turns."""
    found: list[list[float]] = [[] for _ in actions]
    for repeat in range(repeats + 1):
        for action, costs in zip(actions, found, strict=True):
            cost = _cost(action, seconds)
            if repeat:  # the first run warms up
                costs.append(cost)
    first, second = (statistics.median(costs) for costs in found)
    return first, second


def _cost(action: Callable[[], None], seconds: float) -> float:
    limit, count = time.perf_counter() + seconds, 0
    before = time.process_time()
    while time.perf_counter() < limit:
        action()
        count += 1
    return (time.process_time() - before) / count


async def async_rows(address: str, repeats: int, seconds: float) -> list[Row]:
    """`AsyncClient` and a grpc.aio channel with the same options, several calls at a time."""
    connection = Connection(address)
    rows = []
    async with (
        latens.AsyncClient(address) as client,
        grpc.aio.insecure_channel(connection.location().target, connection.options()) as channel,
    ):
        bare: Any = channel.unary_unary(ENCODE)
        for batch in BATCHES:
            images, messages = payloads(batch)

            async def by_channel(messages: Iterator[bytes] = messages) -> None:
                await bare(next(messages), timeout=60)

            async def by_client(images: Iterator[NDArray[np.float32]] = images) -> None:
                await client.encode(next(images))

            found: tuple[list[float], list[float]] = ([], [])
            actions: list[Callable[[], Awaitable[None]]] = [by_channel, by_client]
            for repeat in range(repeats + 1):
                for action, costs in zip(actions, found, strict=True):
                    cost = await _async_cost(action, seconds)
                    if repeat:
                        costs.append(cost)
            medians = (1e6 * statistics.median(costs) / batch for costs in found)
            rows.append(Row("async", batch, *medians))
    return rows


async def _async_cost(action: Callable[[], Awaitable[None]], seconds: float) -> float:
    limit, count = time.perf_counter() + seconds, 0

    async def call_until_the_end() -> None:
        nonlocal count
        while time.perf_counter() < limit:
            await action()
            count += 1

    before = time.process_time()
    await asyncio.gather(*(call_until_the_end() for _ in range(IN_FLIGHT)))
    return (time.process_time() - before) / count


if __name__ == "__main__":
    main()
