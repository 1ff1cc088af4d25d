"""The thread of an engine's long runs, which would block the event loop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]


class EngineThread:
    """Runs posted work in order, and reports if the thread ends by an exception."""

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
        """Ends the thread once the posted work is done."""
        self._work.put(None)

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
        except BaseException as error:
            self._died(error)
