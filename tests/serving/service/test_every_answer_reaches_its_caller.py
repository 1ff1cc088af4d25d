"""With random calls, cancellations, deadlines and failures, no row is lost, doubled or mixed up."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latens_serving.engine.batcher import Batcher
from latens_serving.errors import DeadlineError, DrainingError, EngineFailedError, LatensError
from toy_engine import LARGEST_BATCH, ToyEngine, batcher, turns

INLINE = pytest.mark.parametrize("inline", [True, False], ids=["in the loop", "in a thread"])

CALLS = st.lists(
    st.tuples(
        st.integers(1, 2 * LARGEST_BATCH + 3),  # rows
        st.sampled_from(["stay", "stay", "stay", "leave", "expired", "hurry", "poison"]),
        st.integers(0, 4),  # loop turns before it comes
        st.integers(0, 4),  # loop turns before it leaves
    ),
    min_size=1,
    max_size=25,
)


@INLINE
@settings(max_examples=60)
@given(calls=CALLS)
def test_every_call_gets_its_own_rows_or_an_error(
    inline: bool, calls: list[tuple[int, str, int, int]]
) -> None:
    async def scenario() -> None:
        engine = ToyEngine()
        joined = batcher(engine, inline=inline)
        firsts = np.cumsum([0, *(rows for rows, *_ in calls)])
        outcomes = await asyncio.gather(
            *(outcome_of(joined, first, call) for first, call in zip(firsts, calls, strict=False)),
        )
        for first, (rows, kind, *_), outcome in zip(firsts, calls, outcomes, strict=False):
            check(outcome, kind, rows, int(first), engine)
        assert joined.admitted.rows == joined.admitted.bytes == 0
        assert max(engine.batches, default=0) <= LARGEST_BATCH
        ran = [row for row in engine.rows if row >= 0]
        assert len(ran) == len(set(ran)), "a row was run twice"
        joined.close(lambda: DrainingError("the end"))

    asyncio.run(scenario())


Outcome = tuple[np.ndarray, ...] | BaseException


async def outcome_of(joined: Batcher, first: int, call: tuple[int, str, int, int]) -> Outcome:
    rows, kind, come, leave = call
    values = np.arange(first, first + rows, dtype=np.float32).reshape(-1, 1)
    if kind == "poison":
        values[-1] = -1
    late = {"expired": -1.0, "hurry": 0.0005, "stay": 60.0}
    deadline = time.monotonic() + late[kind] if kind in late else None
    await turns(come)
    task = asyncio.ensure_future(joined.submit(values, deadline))
    if kind == "leave":
        await turns(leave)
        task.cancel()
    try:
        return await task
    except (LatensError, asyncio.CancelledError) as error:
        return error


def check(outcome: Outcome, kind: str, rows: int, first: int, engine: ToyEngine) -> None:
    mine = range(first, first + rows)
    if isinstance(outcome, tuple):
        assert kind not in ("expired", "poison")
        np.testing.assert_array_equal(outcome[0][:, 0], np.array(mine) + 1)
        np.testing.assert_array_equal(outcome[1][:, 0], np.array(mine) * 2)
    elif kind == "expired":
        assert isinstance(outcome, DeadlineError)
        assert not set(mine) & set(engine.rows), "an expired row was run"
    elif kind == "hurry":
        assert isinstance(outcome, DeadlineError | EngineFailedError)
    elif kind == "leave":
        assert isinstance(outcome, asyncio.CancelledError | EngineFailedError)
    else:
        assert isinstance(outcome, EngineFailedError)
