"""The thread that an engine's long runs live in, so that they do not hold up the event loop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]


class EngineThread:
    """Runs what is posted to it, in order. Its death is told, never silent."""

    def __init__(self, name: str, died: Callable[[BaseException], None]) -> None:
        """Starts the thread; `died` is called from it if it ends by an exception."""
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._died = died
        # A daemon: a run that never returns must not keep a process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, work: Work) -> None:
        self._work.put(work)

    def stop(self) -> None:
        """Lets the thread end once it has done what was posted."""
        self._work.put(None)

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
        except BaseException as error:
            self._died(error)
