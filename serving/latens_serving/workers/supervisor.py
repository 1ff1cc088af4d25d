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

from latens_serving.errors import NotReadyError
from latens_serving.settings import Settings
from latens_serving.workers.admin import CrewAdminServer
from latens_serving.workers.task import READY, TASK_VARIABLE, WorkerTask

log = logging.getLogger(__name__)

_UP_SECONDS = 120.0
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
        self.size = settings.workers
        self._workers: dict[int, asyncio.subprocess.Process] = {}
        self._ready = [asyncio.Event() for _ in range(self.size)]  # of its first life
        self._up = [asyncio.Event() for _ in range(self.size)]  # of its present one
        self._stop = asyncio.Event()
        self._code = 0
        self._folder = Path()
        self._admin = None if settings.admin_port is None else CrewAdminServer(self, settings)

    async def run(self, announce: asyncio.Event) -> int:
        """Runs until a signal comes; sets `announce` once all serve. Returns the exit code."""
        self._take_signals()
        with tempfile.TemporaryDirectory(prefix="latens-") as folder:
            self._folder = Path(folder)
            if self._admin is not None:
                await self._admin.start(self._folder)
            async with asyncio.TaskGroup() as keepers:
                for index in range(self.size):
                    keepers.create_task(self._keep(index))
                telling = keepers.create_task(self._tell(announce))
                await self._stop.wait()
                telling.cancel()
            if self._admin is not None:
                await self._admin.stop()
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
            "workers": self.size,
        }
        if self._admin is not None:
            await self._admin.set_serving(True)
            facts["admin_address"] = f"{self._settings.admin_host}:{self._admin.port}"
        log.info("serving", extra={"facts": facts})

    async def admin_socket(self, index: int) -> Path:
        """Where worker number `index` is asked; see `Crew`."""
        try:
            await asyncio.wait_for(self._up[index].wait(), _UP_SECONDS)
        except TimeoutError:
            raise NotReadyError(f"worker {index} does not come up", retry_after=1.0) from None
        return self._task(index).admin_socket

    def dismiss(self) -> list[Path]:
        """Starts no worker any more; see `Crew`."""
        self._stop.set()
        for index, process in self._workers.items():
            if not self._up[index].is_set():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
        return [self._task(i).admin_socket for i in range(self.size) if self._up[i].is_set()]

    def _task(self, index: int) -> WorkerTask:
        unloaded = () if self._admin is None else tuple(sorted(self._admin.unloaded))
        return WorkerTask(f"worker-{index}", self._folder, self._settings, unloaded)

    async def _keep(self, index: int) -> None:
        """Has worker number `index` run, again and again, until all are to stop."""
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            begun = time.monotonic()
            code, served = await self._live(index, self._task(index))
            if self._stop.is_set():
                if served:  # else the signal found it unprepared
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

    async def _live(self, index: int, task: WorkerTask) -> tuple[int, bool]:
        """One life of a worker; its exit code, and whether it came to serve."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "latens_serving.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {TASK_VARIABLE: task.to_json()},
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which passes it on
        )
        self._workers[index] = process
        if self._stop.is_set():
            process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        served = await process.stdout.readline() == READY
        if served:
            self._ready[index].set()
            self._up[index].set()
        code = await process.wait()
        self._up[index].clear()
        del self._workers[index]
        return code, served

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
