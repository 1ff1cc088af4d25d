"""A program on its own terminal, as a person runs it: it has a tty, and Ctrl-C reaches it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# Makes the terminal the program's own, so that the kernel turns the key into the signal; and takes
# back that a job in the background ignores it, which the tests may be, and which is inherited.
_ON_THE_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_CTRL_C = b"\x03"


class Terminal:
    """The program's screen and keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self._process = process
        self._screen = screen
        self.text = ""

    def wait_for(self, pattern: str, seconds: float) -> re.Match[str]:
        """What the pattern matches on the screen; fails when the program ends without it."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.text)) is None:
            if not self._read(deadline):
                raise AssertionError(f"no {pattern!r} within {seconds:g} s:\n{self.text}")
        return found

    def ctrl_c(self) -> None:
        os.write(self._screen, _CTRL_C)

    def wait(self, seconds: float) -> int:
        """The exit code, negative for a signal, once it has ended and all is read."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            piece = os.read(self._screen, 65536)
        except OSError:  # Linux's way to say that the program's side is closed
            return False
        self.text += piece.decode(errors="replace").replace("\r\n", "\n")
        return bool(piece)


@contextmanager
def on_a_terminal(
    command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
) -> Iterator[Terminal]:
    """Runs a program on a terminal for the length of a block; nothing of it stays."""
    screen, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_THE_TERMINAL, *map(str, command)],
        cwd=cwd,
        env=dict(environment),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(process, screen)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(screen)
