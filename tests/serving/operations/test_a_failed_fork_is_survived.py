"""If a worker cannot be restarted, the supervisor tries again later; the other workers continue."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latens_serving.settings import Settings
from latens_serving.workers import supervisor
from latens_serving.workers.supervisor import Supervisor

# Says that it serves, and ends with its stdin, as a worker does.
_STAND_IN = "import sys; print('ready', flush=True); sys.stdin.read()"


class System:
    """Starts processes, or refuses as a system without processes to spare does."""

    def __init__(self) -> None:
        self.started: list[asyncio.subprocess.Process] = []
        self.refusals = 0
        self.refused = 0

    async def start(self, task: Any) -> asyncio.subprocess.Process:
        if self.refused < self.refusals:
            self.refused += 1
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", "-c", _STAND_IN),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.started.append(process)
        return process


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    made = System()
    monkeypatch.setattr(supervisor, "_spawned", made.start)
    return made


def _settings(folder: Path) -> Settings:
    return Settings(repository=folder, workers=2, port=0, http_port=0)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_restart_that_fails_with_eagain_is_tried_again(
    system: System, tmp_path: Path
) -> None:
    announce = asyncio.Event()
    running = asyncio.create_task(Supervisor(_settings(tmp_path)).run(announce))
    await asyncio.wait_for(announce.wait(), 60)
    victim, other = system.started
    system.refusals = 2
    victim.kill()
    await _until(lambda: len(system.started) == 3)
    assert system.refused == 2
    assert other.returncode is None
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 60) in (0, -signal.SIGTERM)


async def test_a_server_whose_first_fork_fails_ends_with_a_code(
    system: System, tmp_path: Path
) -> None:
    system.refusals = 1
    code = await asyncio.wait_for(Supervisor(_settings(tmp_path)).run(asyncio.Event()), 60)
    assert code == 1
    for process in system.started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
