"""`make run` trains missing models, serves, prints commands; Ctrl-C loses nothing."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from PIL import Image

from terminal import Terminal, on_a_terminal

ROOT = Path(__file__).parents[2]
TRAINED_SECONDS = 240
SERVING_SECONDS = 60
STOPPED_SECONDS = 60
SERVING = r"Ctrl-C stops the server"


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [taken.getsockname()[1] for taken in sockets]


def environment() -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LATENS_")}
    for key in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        clean.pop(key, None)
    return clean | {"LATENS_TRAIN_FIGURES": "false", "OMP_NUM_THREADS": "1"}


class Place:
    """Where one newcomer's runs and models lie, and the ports that they chose."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.http_port = free_ports(2)

    def make_run(self) -> AbstractContextManager[Terminal]:
        ready = Path(sys.prefix) / ".ready-to-run"
        settings = {
            "VENV": sys.prefix,
            "RUNS": self.folder / "runs",
            "REPOSITORY": self.folder / "models",
            "EPOCHS": 2,
            "PORT": self.port,
            "HTTP_PORT": self.http_port,
            "DEVICE": "cpu",
        }
        given = [f"{name}={value}" for name, value in settings.items()]
        # --assume-old: the environment that runs this test is the one to use, as it is.
        command = ["make", f"--assume-old={ready}", "run", *given]
        return on_a_terminal(command, ROOT, environment())


def printed_commands(screen: str) -> list[list[str]]:
    block = screen.split("In a second terminal:")[1].split("Ctrl-C")[0]
    return [shlex.split(line) for line in block.splitlines() if line.strip()]


def follow(commands: Sequence[Sequence[str]], folder: Path) -> None:
    """Runs each command as printed, from the checkout, but leaves its pictures in the folder."""
    for command in commands:
        typed = [
            str(folder / part) if part.endswith((".png", ".gif")) else part for part in command
        ]
        done = subprocess.run(
            typed, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{shlex.join(typed)}\n{done.stderr}"


def assert_stopped_cleanly(terminal: Terminal) -> None:
    """Make itself ends by the key's signal, as a shell expects; nothing looks like a failure."""
    assert terminal.wait(STOPPED_SECONDS) == -signal.SIGINT, terminal.text
    for ugly in ("***", "Traceback", "Error"):
        assert ugly not in terminal.text


def test_make_run_starts_a_server_and_ctrl_c_loses_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)

    with place.make_run() as terminal:
        terminal.wait_for(r"epoch +1/2", TRAINED_SECONDS)
        terminal.ctrl_c()
        assert_stopped_cleanly(terminal)
    assert "make run" in terminal.text

    with place.make_run() as terminal:
        terminal.wait_for(SERVING, TRAINED_SECONDS)
        epochs = re.findall(r"epoch +(\d)/2", terminal.text)
        assert epochs[0] == "2", "the interrupted training began anew"
        follow(printed_commands(terminal.text), tmp_path)
        terminal.ctrl_c()
        assert_stopped_cleanly(terminal)
    with Image.open(tmp_path / "digits.png") as digits, Image.open(tmp_path / "grid.png") as grid:
        assert min(digits.size) >= 4 * 28
        assert min(grid.size) >= 21 * 28
    bundles = sorted(path.parent for path in (tmp_path / "models").glob("*/*/bundle.json"))
    assert [bundle.parent.name for bundle in bundles] == ["mnist", "mnist-2d"]

    with place.make_run() as terminal:
        terminal.wait_for(SERVING, SERVING_SECONDS)
        assert "epoch" not in terminal.text
        terminal.ctrl_c()
        assert_stopped_cleanly(terminal)
