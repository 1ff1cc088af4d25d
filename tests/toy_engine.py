"""An engine with simple answers, for tests of batching."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from latens_serving.engine.batcher import Batcher, BatchLimits

LARGEST_BATCH = 8


class ToyEngine:
    """x -> x + 1, and a record of every row that it ran; fails on rows that hold -1."""

    def __init__(self) -> None:
        self.rows: list[float] = []
        self.batches: list[int] = []
        self.concurrent = 0
        self.may_run = threading.Event()
        self.may_run.set()
        self.running = threading.Event()

    def run(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.concurrent += 1
        assert self.concurrent == 1
        self.running.set()
        try:
            assert self.may_run.wait(10)
            self.rows += rows[:, 0].tolist()
            self.batches.append(len(rows))
            if (rows < 0).any():
                raise RuntimeError("secret")
            return rows + 1, rows[:, :1] * 2
        finally:
            self.concurrent -= 1


def batcher(engine: ToyEngine, *, inline: bool = False, **limits: Any) -> Batcher:
    return Batcher(
        engine.run,
        BatchLimits(**{"batch_rows": LARGEST_BATCH, **limits}),
        runs_inline=lambda elements: inline,
    )


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
