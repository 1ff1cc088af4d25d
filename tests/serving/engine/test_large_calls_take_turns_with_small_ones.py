"""No call waits for all of a large one: its parts take turns with the other calls."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from latens_serving.engine import batcher as batching
from latens_serving.engine.batcher import Batcher
from latens_serving.engine.run_cost import RunCost
from toy_engine import LARGEST_BATCH, ToyEngine, batcher, column, turns, until


def numbered(first: int, count: int) -> np.ndarray:
    return column(*range(first, first + count))


async def started(engine: ToyEngine, joined: Batcher, rows: np.ndarray) -> asyncio.Task[object]:
    """A call whose first part is in the engine, which waits."""
    engine.may_run.clear()
    call = asyncio.create_task(joined.submit(rows))
    await until(engine.running.is_set)
    return call


async def test_a_small_call_waits_for_two_parts_at_most() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    large = await started(engine, joined, numbered(0, 10 * LARGEST_BATCH))
    await turns()
    small = [asyncio.create_task(joined.submit(column(1000 + i))) for i in range(3)]
    await turns()
    engine.may_run.set()
    await asyncio.gather(large, *small)
    before = engine.rows.index(1000)
    assert before <= 2 * LARGEST_BATCH
    assert engine.rows[before : before + 3] == [1000, 1001, 1002]
    assert [row for row in engine.rows if row < 1000] == list(range(10 * LARGEST_BATCH))


async def test_a_large_call_has_every_other_batch() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    large = await started(engine, joined, numbered(0, 4 * LARGEST_BATCH))
    small = [
        asyncio.create_task(joined.submit(column(*[1000.0] * LARGEST_BATCH))) for _ in range(20)
    ]
    await turns()
    engine.may_run.set()
    await asyncio.gather(large, *small)
    kinds = [engine.rows[at] >= 1000 for at in range(0, len(engine.rows), LARGEST_BATCH)]
    last_part = max(place for place, is_small in enumerate(kinds) if not is_small)
    assert last_part <= 2 * 4 + 1


async def test_large_calls_take_turns_with_each_other() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    first = await started(engine, joined, numbered(0, 10 * LARGEST_BATCH))
    second = asyncio.create_task(joined.submit(numbered(1000, 2 * LARGEST_BATCH)))
    await turns()
    engine.may_run.set()
    await asyncio.gather(first, second)
    ended = engine.rows.index(1000 + 2 * LARGEST_BATCH - 1)
    assert ended <= 6 * LARGEST_BATCH, "the second waited for most of the first"


@pytest.mark.parametrize("is_beside_small_ones", [False, True])
async def test_parts_are_short_only_while_small_calls_come(
    monkeypatch: pytest.MonkeyPatch, is_beside_small_ones: bool
) -> None:
    monkeypatch.setattr(batching, "_COMPANY_SECONDS", 1e9)
    engine = ToyEngine()
    joined = batcher(engine, batch_rows=100, batch_elements=20, part_elements=5)
    if is_beside_small_ones:
        await joined.submit(column(1000.0))
    outputs = await joined.submit(numbered(0, 40))
    np.testing.assert_array_equal(outputs[0], numbered(1, 40))
    sizes = engine.batches[1:] if is_beside_small_ones else engine.batches
    assert sizes == ([5] * 8 if is_beside_small_ones else [20, 20])


async def test_a_part_that_fails_fails_its_call_alone_and_at_once() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    rows = numbered(0, 10 * LARGEST_BATCH)
    rows[LARGEST_BATCH] = -1
    bad = await started(engine, joined, rows)
    good = asyncio.create_task(joined.submit(numbered(1000, 3 * LARGEST_BATCH)))
    await turns()
    engine.may_run.set()
    with pytest.raises(Exception, match="engine failed"):
        await bad
    outputs = await good
    np.testing.assert_array_equal(outputs[0], numbered(1001, 3 * LARGEST_BATCH))
    assert max(row for row in engine.rows if row < 1000) < 4 * LARGEST_BATCH
    assert joined.admitted.rows == 0


async def test_a_caller_that_leaves_takes_its_parts_along() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    large = await started(engine, joined, numbered(0, 10 * LARGEST_BATCH))
    large.cancel()
    await turns()
    engine.may_run.set()
    await joined.submit(column(1000.0))
    assert len(engine.rows) <= 2 * LARGEST_BATCH + 1
    assert joined.admitted.rows == 0


@pytest.mark.parametrize("row_seconds", [1e-6, 1e-4, 1e-2])
def test_a_part_takes_half_a_millisecond_or_one_row(row_seconds: float) -> None:
    cost = RunCost(start_seconds=1e-5, element_seconds=row_seconds / 100, inline_seconds=1e-3)
    rows = cost.part_elements("CPUExecutionProvider", 100) / 100
    assert rows == pytest.approx(max(1, 5e-4 / row_seconds), rel=0.05)
    assert rows <= cost.batch_elements("CPUExecutionProvider", 100) / 100


def test_a_run_that_starts_slowly_is_longer() -> None:
    cost = RunCost(start_seconds=1e-3, element_seconds=1e-6, inline_seconds=1e-3)
    assert cost.part_elements("CPUExecutionProvider", 100) == pytest.approx(10_000)
    assert cost.batch_elements("CPUExecutionProvider", 100) == pytest.approx(20_000)
