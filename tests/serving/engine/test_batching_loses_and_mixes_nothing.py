"""Each answer reaches its caller, none is lost or doubled, and cancelled calls affect no others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest

from latens_serving.engine.batcher import Batcher, BatchLimits, BatchReport
from latens_serving.engine.run_seconds import RunSeconds
from latens_serving.errors import (
    DeadlineError,
    DrainingError,
    EngineFailedError,
    OutOfDeviceMemoryError,
    QueueFullError,
)
from toy_engine import LARGEST_BATCH, ToyEngine, batcher, column, turns, until

INLINE = pytest.mark.parametrize("inline", [True, False], ids=["in the loop", "in a thread"])


@INLINE
async def test_rows_that_wait_together_run_together(inline: bool) -> None:
    engine = ToyEngine()
    joined = batcher(engine, inline=inline)
    await asyncio.gather(*(joined.submit(column(value)) for value in range(6)))
    assert engine.batches == [6]


async def test_rows_that_arrive_during_a_run_are_the_next_batch() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    engine.may_run.clear()
    first = asyncio.ensure_future(joined.submit(column(0)))
    await until(engine.running.is_set)
    later = [asyncio.ensure_future(joined.submit(column(value))) for value in (1, 2, 3)]
    await turns()
    engine.may_run.set()
    await asyncio.gather(first, *later)
    assert engine.batches == [1, 3]


async def test_only_a_call_beyond_the_limit_is_cut_and_keeps_its_order() -> None:
    engine = ToyEngine()
    joined = batcher(engine, inline=True)
    rows = np.arange(30, dtype=np.float32).reshape(-1, 1)
    large, small = await asyncio.gather(joined.submit(rows), joined.submit(column(50, 51, 52)))
    np.testing.assert_array_equal(large[0], rows + 1)
    np.testing.assert_array_equal(small[0], column(51, 52, 53))
    assert engine.rows.index(52) - engine.rows.index(50) == 2
    assert engine.rows.index(50) < engine.rows.index(29), "the small call waited for all of it"


async def test_a_cancelled_call_of_a_running_batch_does_not_affect_the_others() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    engine.may_run.clear()
    tasks = [asyncio.ensure_future(joined.submit(column(value))) for value in range(3)]
    await until(engine.running.is_set)
    tasks[1].cancel()
    await turns()
    engine.may_run.set()
    answers: list[Any] = list(await asyncio.gather(*tasks, return_exceptions=True))
    assert [answer[0].item() for answer in (answers[0], answers[2])] == [1, 3]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert joined.admitted.rows == 0


async def test_a_cancelled_call_in_the_queue_is_not_run_and_frees_its_place() -> None:
    engine = ToyEngine()
    joined = batcher(engine, queue_rows=2)
    engine.may_run.clear()
    running = asyncio.ensure_future(joined.submit(column(0)))
    await until(engine.running.is_set)
    waiting = asyncio.ensure_future(joined.submit(column(1)))
    await turns()
    with pytest.raises(QueueFullError):
        await joined.submit(column(2))
    waiting.cancel()
    await turns()
    taken = asyncio.ensure_future(joined.submit(column(3)))
    await turns()
    engine.may_run.set()
    await asyncio.gather(running, taken)
    assert engine.rows == [0, 3]


async def test_a_call_whose_deadline_passes_in_the_queue_fails_at_once_and_is_not_run() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    engine.may_run.clear()
    running = asyncio.ensure_future(joined.submit(column(0)))
    await until(engine.running.is_set)
    with pytest.raises(DeadlineError):
        await joined.submit(column(1), time.monotonic() + 0.01)
    engine.may_run.set()
    await running
    await joined.submit(column(2))
    assert engine.rows == [0, 2]


@INLINE
async def test_a_failed_run_fails_only_its_batch(inline: bool) -> None:
    engine = ToyEngine()
    joined = batcher(engine, inline=inline)
    together: Any = await asyncio.gather(
        joined.submit(column(1)), joined.submit(column(-1)), return_exceptions=True
    )
    assert [type(outcome) for outcome in together] == [EngineFailedError] * 2
    assert "secret" not in str(together[0])
    assert str(together[0].__cause__) == "secret"
    assert (await joined.submit(column(4)))[0] == 5


async def test_a_service_error_of_the_engine_is_passed_on() -> None:
    def run(rows: np.ndarray) -> tuple[np.ndarray]:
        raise OutOfDeviceMemoryError(f"no room for {len(rows)}")

    with pytest.raises(OutOfDeviceMemoryError, match="no room for 1"):
        await Batcher(run, BatchLimits()).submit(column(1))


@pytest.mark.parametrize("limits", [{"queue_rows": 4}, {"queue_bytes": 16}], ids=["rows", "bytes"])
async def test_a_full_queue_refuses_calls_with_a_hint(limits: dict[str, Any]) -> None:
    engine = ToyEngine()
    joined = batcher(engine, **limits)
    engine.may_run.clear()
    accepted = [asyncio.ensure_future(joined.submit(column(value))) for value in range(4)]
    await turns()
    with pytest.raises(QueueFullError) as caught:
        await joined.submit(column(9))
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 5
    engine.may_run.set()
    await asyncio.gather(*accepted)
    assert (await joined.submit(column(9)))[0] == 10
    assert sorted(engine.rows) == [0, 1, 2, 3, 9]


async def test_a_call_larger_than_the_queue_is_admitted_if_nothing_else_waits() -> None:
    joined = batcher(ToyEngine(), queue_rows=4)
    rows = np.zeros((20, 1), np.float32)
    (answer, _) = await joined.submit(rows)
    np.testing.assert_array_equal(answer, rows + 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_engine_thread_fails_waiting_calls_and_is_reported() -> None:
    deaths: list[BaseException] = []
    may_die = threading.Event()

    def run(rows: np.ndarray) -> tuple[np.ndarray]:
        may_die.wait(10)
        raise SystemExit("gone")

    joined = Batcher(run, BatchLimits(batch_rows=2), died=deaths.append)
    tasks = [asyncio.ensure_future(joined.submit(column(value, value))) for value in range(4)]
    await turns()
    may_die.set()
    outcomes: list[object] = list(await asyncio.gather(*tasks, return_exceptions=True))
    assert [type(outcome) for outcome in outcomes] == [EngineFailedError] * 4
    assert [type(death) for death in deaths] == [SystemExit]
    with pytest.raises(EngineFailedError):
        await joined.submit(column(1))
    assert joined.admitted.rows == 0


async def test_closing_fails_waiting_and_later_calls() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    engine.may_run.clear()
    running = asyncio.ensure_future(joined.submit(column(0)))
    await until(engine.running.is_set)
    waiting = asyncio.ensure_future(joined.submit(column(1)))
    await turns()
    joined.close(lambda: DrainingError("going"))
    with pytest.raises(DrainingError):
        await waiting
    with pytest.raises(DrainingError):
        await joined.submit(column(2))
    engine.may_run.set()
    assert (await running)[0] == 1


async def test_at_most_one_batch_is_prefetched() -> None:
    engine = ToyEngine()
    joined = batcher(engine)
    engine.may_run.clear()
    calls = [joined.submit(column(*range(LARGEST_BATCH))) for _ in range(5)]
    tasks: list[Awaitable[object]] = [asyncio.ensure_future(call) for call in calls]
    await until(engine.running.is_set)
    await turns(20)
    assert len(joined._in_engine) == 2
    engine.may_run.set()
    await asyncio.gather(*tasks)


async def test_each_run_is_reported_with_its_waits() -> None:
    reports: list[BatchReport] = []
    engine = ToyEngine()
    joined = Batcher(engine.run, BatchLimits(), report=reports.append)
    await asyncio.gather(joined.submit(column(1, 2)), joined.submit(column(3)))
    (report,) = reports
    assert (report.rows, len(report.wait_seconds), report.failed) == (3, 2, False)
    assert all(wait >= 0 for wait in report.wait_seconds)


async def test_a_call_that_would_come_too_late_is_refused_at_once() -> None:
    engine = ToyEngine()
    joined = Batcher(engine.run, BatchLimits(), run_seconds=RunSeconds(element_seconds=1.0))
    engine.may_run.clear()
    running = asyncio.ensure_future(joined.submit(column(0)))
    await until(engine.running.is_set)
    with pytest.raises(QueueFullError) as caught:
        await joined.submit(column(1), time.monotonic() + 2.0)
    assert caught.value.retry_after == pytest.approx(2.0)
    waiting = asyncio.ensure_future(joined.submit(column(2), time.monotonic() + 60.0))
    await turns()
    engine.may_run.set()
    await asyncio.gather(running, waiting)


async def test_many_short_runs_do_not_make_a_long_queue_look_slow() -> None:
    # A row alone takes 0.9 s to start, and a full batch little more than that.
    seconds = RunSeconds(start_seconds=0.9, element_seconds=0.001)
    for _ in range(200):
        seconds.learn(1, 0.901)
    assert seconds.expected(1) == pytest.approx(0.901)
    assert seconds.expected(1000) == pytest.approx(1.9)
    for _ in range(200):  # then all became twice as slow, as long runs tell
        seconds.learn(2000, 4.9)
    assert seconds.expected(2000) == pytest.approx(4.9)


async def test_a_queue_is_expected_to_run_in_full_batches() -> None:
    seconds = RunSeconds(start_seconds=0.1)
    engine = ToyEngine()
    joined = Batcher(engine.run, BatchLimits(batch_rows=10), run_seconds=seconds)
    engine.may_run.clear()
    running = asyncio.ensure_future(joined.submit(column(*range(25))))
    await until(engine.running.is_set)
    with pytest.raises(QueueFullError) as caught:  # three batches of 35 rows and one begun
        await joined.submit(column(*range(10)), time.monotonic() + 0.7)
    assert caught.value.retry_after == pytest.approx(0.4)
    engine.may_run.set()
    await running


def squares(count: int, side: int) -> np.ndarray:
    return np.full((count, side, side), float(side), np.float32)


@INLINE
async def test_rows_of_equal_shape_share_a_batch_and_no_answer_is_swapped(inline: bool) -> None:
    shapes: list[tuple[int, ...]] = []

    def run(rows: np.ndarray) -> tuple[np.ndarray]:
        shapes.append(rows.shape)
        return (rows + 1,)

    joined = Batcher(run, BatchLimits(), runs_inline=lambda elements: inline)
    sides = [2, 3, 4] * 20
    answers = await asyncio.gather(*(joined.submit(squares(2, side)) for side in sides))
    for side, (answer,) in zip(sides, answers, strict=True):
        np.testing.assert_array_equal(answer, squares(2, side) + 1)
    assert sorted(shapes) == [(40, side, side) for side in (2, 3, 4)]
    assert (joined.admitted.rows, joined.admitted.bytes) == (0, 0)


async def test_the_call_that_waits_longest_is_in_the_next_batch_whatever_its_shape() -> None:
    order: list[int] = []
    may_run = threading.Event()

    def run(rows: np.ndarray) -> tuple[np.ndarray]:
        may_run.wait(10)
        order.append(rows.shape[1])
        return (rows,)

    joined = Batcher(run, BatchLimits(batch_rows=2))
    sides = [1, 5, 2, 5, 3, 5, 5]
    calls = [asyncio.ensure_future(joined.submit(squares(1, side))) for side in sides]
    calls[4].cancel()
    await turns()
    may_run.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert order == [1, 5, 2, 5]


async def test_a_batch_is_limited_in_elements_and_one_row_is_run_always() -> None:
    shapes: list[tuple[int, ...]] = []

    def run(rows: np.ndarray) -> tuple[np.ndarray]:
        shapes.append(rows.shape)
        return (rows,)

    joined = Batcher(run, BatchLimits(batch_elements=32), runs_inline=lambda elements: True)
    calls = [
        joined.submit(squares(5, 4)),
        joined.submit(squares(3, 2)),
        joined.submit(squares(2, 9)),
    ]
    answers = await asyncio.gather(*calls)
    assert [len(answer) for (answer,) in answers] == [5, 3, 2]
    by_side = {side: [shape[0] for shape in shapes if shape[1] == side] for side in (4, 2, 9)}
    assert by_side == {4: [2, 2, 1], 2: [3], 9: [1, 1]}


async def test_the_bytes_of_answers_are_admitted_too() -> None:
    engine = ToyEngine()
    joined = Batcher(
        engine.run, BatchLimits(queue_bytes=1000), answer_bytes=lambda shape: 300 * shape[0]
    )
    engine.may_run.clear()
    calls = [asyncio.ensure_future(joined.submit(column(value))) for value in (1, 2, 3)]
    await turns()
    assert joined.admitted.bytes == 3 * 304
    with pytest.raises(QueueFullError, match="bytes"):
        await joined.submit(column(4))
    engine.may_run.set()
    await asyncio.gather(*calls)
    assert joined.admitted.bytes == 0


async def test_a_run_that_is_expected_to_take_long_is_not_given_up_early() -> None:
    deaths: list[BaseException] = []
    may_end = threading.Event()

    def slow(rows: np.ndarray) -> tuple[np.ndarray]:
        may_end.wait(10)
        return (rows,)

    limits = BatchLimits(stuck_seconds=0.001)
    joined = Batcher(slow, limits, died=deaths.append, run_seconds=RunSeconds(element_seconds=1.0))
    call = asyncio.ensure_future(joined.submit(column(1)))
    brief = Batcher(slow, limits, died=deaths.append)
    with pytest.raises(EngineFailedError):  # by then the first would have been given up too
        await brief.submit(column(1))
    may_end.set()
    await call
    assert [type(death) for death in deaths] == [TimeoutError]
