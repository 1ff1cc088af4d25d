"""numpy work of a call that takes more than a millisecond, away from the event loop.

It has a thread of its own: in the engine's thread it would keep other callers' batches waiting.
numpy lets go of the interpreter's lock meanwhile, so the event loop goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Elements that take about a millisecond on one core.
DRAWS = 1 << 14
"""Of normal noise, or of logarithms and exponentials."""
COPIES = 1 << 18
"""Of comparisons, conversions and sums."""

# One thread: memory that numpy frees is used again by the next call.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="numpy")


async def offload(
    is_long: bool,
    work: Callable[Parameters, Result],
    *arguments: Parameters.args,
    **named: Parameters.kwargs,
) -> Result:
    """Calls `work` with the arguments: in the thread if it is long, else at once."""
    if not is_long:
        return work(*arguments, **named)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREAD, lambda: work(*arguments, **named))
