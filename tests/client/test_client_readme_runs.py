"""Every command and every piece of Python of the client's README, run against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from server_process import Server

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.split(" #")[0].strip()
    for language, text in BLOCKS
    if language == "sh"
    for line in text.splitlines()
    if line.startswith("latens ") and not line.startswith("latens explore")
]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_runs(number: int, server: Server, tmp_path: Path) -> None:
    code = PYTHON[number].replace("127.0.0.1:50051", server.address)
    assert server.address in code
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


def test_commands_run_one_after_the_other(server: Server, tmp_path: Path) -> None:
    """In one process, so that a dozen starts do not take a dozen times as long."""
    code = (
        "import shlex, sys\n"
        "from latens.cli import app\n"
        f"for command in {COMMANDS!r}:\n"
        "    sys.argv = shlex.split(command)\n"
        "    try:\n"
        "        app.run()\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, (command, end.code)\n"
    )
    environment = os.environ | {"LATENS_ADDRESS": server.address}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert len(COMMANDS) == 13
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {
        *("digits.png", "sixteen", "morph.gif", "strip.png", "map.png", "lines.png"),
        *("codes.npz", "again.png", "compared.png", "completed.png"),
    }


def test_every_verb_and_error_is_in_the_readme() -> None:
    from latens import errors
    from latens.cli.app import COMMANDS as VERBS

    verbs = {command.__name__ for command in VERBS}
    assert verbs == {command.split()[1] for command in COMMANDS} | {"explore"}
    assert "\nlatens explore " in TEXT
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.LatensError)
    }
    assert [name for name in classes if f"`{name}`" not in TEXT] == ["OverloadedError"]
