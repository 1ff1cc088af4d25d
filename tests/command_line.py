"""The command `latens` run in this process, in an empty folder, on a real server."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from latens.cli import app

GREY = Image.new("L", (28, 28), 128)


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


def command_line(
    address: str, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
) -> Run:
    """What runs the command in a folder, with the server's address in the environment."""
    patch.chdir(folder)
    patch.setenv("LATENS_ADDRESS", address)
    patch.setenv("NO_COLOR", "1")
    patch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Outcome:
        patch.setattr(sys, "argv", ["latens", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        capture.readouterr()
        code = 0
        try:
            app.run()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = capture.readouterr()
        assert "Traceback" not in out + err
        return Outcome(code, out, err)

    return call


def ok(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome
    return outcome
