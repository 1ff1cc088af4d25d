"""Decodes pictures in processes, so that the engine does not wait for them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from numpy.typing import NDArray

from latens_bulk.errors import BadDataError
from latens_bulk.preprocessing import Decoded, Preprocessing


class DecodingPool:
    """Processes that decode blocks of pictures; they are started with the first block."""

    def __init__(self, preprocessing: Preprocessing, processes: int) -> None:
        self._preprocessing = preprocessing
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, images: Sequence[bytes] | NDArray[Any]) -> Future[Decoded]:
        """Decodes a block; arrays at once, since they need no decoding."""
        if isinstance(images, Sequence) and self._processes and images:
            return self._started().submit(_decode, images)
        done: Future[Decoded] = Future()
        try:
            if isinstance(images, Sequence):
                done.set_result(self._preprocessing.decode(images))
            else:
                done.set_result(self._preprocessing.arrays(images))
        except BadDataError as error:
            done.set_exception(error)
        return done

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._processes,
                multiprocessing.get_context("spawn"),  # a fork would copy the engine's threads
                _begin,
                (self._preprocessing,),
            )
        return self._pool


_preprocessing: Preprocessing | None = None


def _begin(preprocessing: Preprocessing) -> None:
    """Sets a process up: it ends with its parent, and leaves Ctrl-C to it."""
    global _preprocessing
    _preprocessing = preprocessing
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _decode(contents: Sequence[bytes]) -> Decoded:
    assert _preprocessing is not None
    return _preprocessing.decode(contents)
