"""Several server processes on one address, started, watched and stopped together.

The kernel spreads connections over them (SO_REUSEPORT). A worker that dies is restarted. If a
worker cannot start the first time, all are stopped, with its exit code.
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
from latens_serving.workers.admin import PoolAdminServer
from latens_serving.workers.metrics import TotalMetrics
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
            OSError: a port cannot be bound.
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
        self._started = [asyncio.Event() for _ in range(self.size)]  # has served once
        self._up = [asyncio.Event() for _ in range(self.size)]  # serves now
        self._stop = asyncio.Event()
        self._code = 0
        self._folder = Path()
        self._total: TotalMetrics | None = None
        self._admin = None if settings.admin_port is None else PoolAdminServer(self, settings)

    async def run(self, announce: asyncio.Event) -> int:
        """Runs until a signal arrives; sets `announce` once all serve. Returns the exit code."""
        self._handle_signals()
        with tempfile.TemporaryDirectory(prefix="latens-") as folder:
            self._folder = Path(folder)
            await self._start_metrics()
            if self._admin is not None:
                await self._admin.start()
            async with asyncio.TaskGroup() as tasks:
                for index in range(self.size):
                    tasks.create_task(self._keep(index))
                announcing = tasks.create_task(self._announce(announce))
                await self._stop.wait()
                announcing.cancel()
            if self._admin is not None:
                await self._admin.stop()
            if self._total is not None:
                await self._total.stop()
        for reserved in (self._grpc, self._http):
            reserved.close()
        log.info("stopped")
        return self._code

    async def _start_metrics(self) -> None:
        names = [self._task(index).name for index in range(self.size)]
        own = None if self._admin is None else self._admin.exposition
        self._total = TotalMetrics(self._folder, names, own)
        await self._total.start()

    async def _announce(self, announce: asyncio.Event) -> None:
        for started in self._started:
            await started.wait()
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
        """See `WorkerPool`."""
        try:
            await asyncio.wait_for(self._up[index].wait(), _UP_SECONDS)
        except TimeoutError:
            raise NotReadyError(f"worker {index} does not start", retry_after=1.0) from None
        return self._task(index).admin_socket

    def stop_restarting(self) -> list[Path]:
        """See `WorkerPool`."""
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
        """Runs worker number `index` again and again, until all are to stop."""
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            begun = time.monotonic()
            code, served = await self._run_worker(index)
            if self._stop.is_set():
                if served:  # a worker that was still starting ends with the signal's code
                    self._code = self._code or code or 0
                return
            if not self._started[index].is_set():
                self._code = code or 1  # the worker has reported the reason
                self._end(signal.SIGTERM)
                return
            if code is not None:
                log.error("worker died", extra={"facts": {"worker": index, "exit_code": code}})
            steady = time.monotonic() - begun > _STEADY_SECONDS
            pause = _FIRST_PAUSE if steady else min(2 * pause, _LONGEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)

    async def _run_worker(self, index: int) -> tuple[int | None, bool]:
        """Starts a worker and waits for its end; returns its exit code, and whether it served.

        The exit code is None if the system could not start a process.
        """
        task = self._task(index)
        try:
            process = await _spawned(task)
        except OSError as error:  # the system has too few processes or too little memory
            log.error(  # noqa: TRY400 - not a defect: no traceback
                "worker cannot be started", extra={"facts": {"worker": index, "error": str(error)}}
            )
            return None, False
        self._workers[index] = process
        if self._stop.is_set():
            process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        served = await process.stdout.readline() == READY
        if served:
            self._started[index].set()
            self._up[index].set()
        code = await process.wait()
        self._up[index].clear()
        del self._workers[index]
        if self._total is not None:
            self._total.worker_died(task.name)
        return code, served

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._forward, signal.SIGHUP)

    def _end(self, number: int) -> None:
        if self._stop.is_set():  # the second signal: end at once
            self._forward(signal.SIGKILL)
            os._exit(128 + number)
        self._stop.set()
        self._forward(number)

    def _forward(self, number: int) -> None:
        for process in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


async def _spawned(task: WorkerTask) -> asyncio.subprocess.Process:
    """A new worker process.

    Raises:
        OSError: the system could not start it.
    """
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "latens_serving.worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {TASK_VARIABLE: task.to_json()},
        start_new_session=True,  # Ctrl-C reaches only the supervisor, which forwards it
    )


def _reserved(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen: it holds the port, which the workers may share."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        pass  # bind first without sharing, which fails if another server listens
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((host, port))
    return reserved
