"""Several server processes on one address, started, watched and ended together.

The kernel spreads connections over them (SO_REUSEPORT). A worker that dies is started again; one
that cannot start the first time ends them all with its exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from serving.settings import Settings
from serving.worker import READY, TASK_VARIABLE, WorkerTask

log = logging.getLogger(__name__)

_STEADY_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0


class Supervisor:
    """The workers of one address."""

    def __init__(self, settings: Settings) -> None:
        """Reserves both ports.

        Raises:
            OSError: one of them cannot be had.
        """
        self._grpc = _reserved(settings.host, settings.port)
        self._http = _reserved(settings.host, settings.http_port)
        self.port: int = self._grpc.getsockname()[1]
        self.http_port: int = self._http.getsockname()[1]
        self._settings = settings.model_copy(
            update={"port": self.port, "http_port": self.http_port}
        )
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._ready = [asyncio.Event() for _ in range(settings.workers)]
        self._stop = asyncio.Event()
        self._code = 0

    async def run(self, announce: asyncio.Event) -> int:
        """Runs until a signal comes; sets `announce` once all serve. Returns the exit code."""
        self._take_signals()
        with tempfile.TemporaryDirectory(prefix="latens-") as folder:
            async with asyncio.TaskGroup() as keepers:
                for index in range(self._settings.workers):
                    keepers.create_task(self._keep(index, Path(folder)))
                telling = keepers.create_task(self._tell(announce))
                await self._stop.wait()
                telling.cancel()
        for reserved in (self._grpc, self._http):
            reserved.close()
        log.info("stopped")
        return self._code

    async def _tell(self, announce: asyncio.Event) -> None:
        for ready in self._ready:
            await ready.wait()
        announce.set()
        host = self._settings.host
        facts = {
            "address": f"{host}:{self.port}",
            "http_address": f"{host}:{self.http_port}",
            "workers": self._settings.workers,
        }
        log.info("serving", extra={"facts": facts})

    async def _keep(self, index: int, folder: Path) -> None:
        """Has worker number `index` run, again and again, until all are to stop."""
        task = WorkerTask(f"worker-{index}", folder, self._settings)
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            begun = time.monotonic()
            code = await self._live(index, task)
            if self._stop.is_set():
                if self._ready[index].is_set():  # else the signal found it unprepared
                    self._code = self._code or code
                return
            if not self._ready[index].is_set():
                self._code = code or 1  # it said why
                self._end(signal.SIGTERM)
                return
            log.error("worker died", extra={"facts": {"worker": index, "exit_code": code}})
            steady = time.monotonic() - begun > _STEADY_SECONDS
            pause = _FIRST_PAUSE if steady else min(2 * pause, _LONGEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)

    async def _live(self, index: int, task: WorkerTask) -> int:
        """One life of a worker; its exit code."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "serving.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {TASK_VARIABLE: task.to_json()},
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which passes it on
        )
        self._workers[index] = process
        if self._stop.is_set():
            process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        if await process.stdout.readline() == READY:
            self._ready[index].set()
        code = await process.wait()
        del self._workers[index]
        return code

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)

    def _end(self, number: int) -> None:
        if self._stop.is_set():  # asked twice: at once, whatever is under way
            self._pass_on(signal.SIGKILL)
            os._exit(128 + number)
        self._stop.set()
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        for process in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


def _reserved(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen: the port is ours, and the workers may share it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        pass  # without sharing first: another server there is found
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((host, port))
    return reserved
