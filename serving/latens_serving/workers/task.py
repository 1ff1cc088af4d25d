"""The task of a worker process, and the end of a worker with its supervisor.

The task is in an environment variable. The worker prints `ready` on stdout once it serves, and
stops when its stdin ends, which means that the supervisor has ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from latens_serving.models.layout import Key
from latens_serving.settings import Settings

TASK_VARIABLE: Final = "LATENS_WORKER"
READY: Final = b"ready\n"


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """The settings of one worker."""

    name: str
    folder: Path
    """The folder of the sockets of all workers."""
    settings: Settings
    unloaded: tuple[Key, ...] = ()
    """The versions that an operator has unloaded."""

    @property
    def admin_socket(self) -> Path:
        """The socket on which the supervisor sends an operator's calls."""
        return self.folder / f"{self.name}.admin"

    def to_json(self) -> str:
        """The text that `from_environment` reads."""
        chosen = self.settings.model_dump(mode="json", include=set(Settings.model_fields))
        task = {"name": self.name, "folder": str(self.folder), "settings": chosen}
        return json.dumps(task | {"unloaded": self.unloaded})

    @classmethod
    def from_environment(cls) -> WorkerTask:
        task: dict[str, Any] = json.loads(os.environ[TASK_VARIABLE])
        unloaded = tuple((name, version) for name, version in task["unloaded"])
        return cls(task["name"], Path(task["folder"]), Settings(**task["settings"]), unloaded)


async def leave_with_supervisor(leave: asyncio.Event) -> None:
    """Sets `leave` when stdin ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    leave.set()
