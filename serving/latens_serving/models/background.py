"""Runs blocking work in a daemon thread, so that nothing waits for it at the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_running: set[threading.Thread] = set()


class BackgroundError(Exception):
    """The work ended in something that is no Exception, such as a panic of a native library."""


async def run_in_background(
    work: Callable[[], Result], *, name: str, discard: Callable[[Result], None] = lambda _: None
) -> Result:
    """Runs `work` in a thread of its own.

    A thread cannot be stopped. When the caller is cancelled the thread is left behind, and what it
    returns later is given to `discard`. The executor of `asyncio.to_thread` would be waited for at
    the end of the process, which then could not end.

    Args:
        work: blocks for as long as it likes.
        name: the name of the thread.
        discard: frees a result that nobody waits for; called in the event loop.

    Raises:
        Exception: what `work` raised.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(outcome: Result | None, error: BaseException | None) -> None:
        if future.done():
            if error is None:
                discard(outcome)  # type: ignore[arg-type]  # no error: there is a result
        elif error is None:
            future.set_result(outcome)  # type: ignore[arg-type]
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            future.set_exception(error)
        else:
            future.set_exception(BackgroundError(f"{type(error).__name__}: {error}"))

    def run() -> None:
        outcome, failure = None, None
        try:
            outcome = work()
        except BaseException as error:
            failure = error
        finally:
            _running.discard(thread)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, outcome, failure)

    thread = threading.Thread(target=run, name=name, daemon=True)
    _running.add(thread)
    thread.start()
    return await future


def is_background_running() -> bool:
    """Whether a thread still runs. A process with one must end without waiting for threads."""
    return any(thread.is_alive() for thread in list(_running))
