"""Runs `latens-bulk encode` that kill themselves with SIGKILL at a chosen moment.

usage: killed_runs.py KILL_AT ARGUMENT...

The moment is counted in what the run does to files of its output: opening, renaming, linking and
removing them. Prints how many such moments there were; with KILL_AT the run ends right before
moment KILL_AT, after printing the processes that it had started.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from latens_bulk import cli

EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir"}


def main() -> int:
    kill_at, arguments = int(sys.argv[1]), sys.argv[2:]
    output = str(Path(arguments[2]).resolve())
    moments = 0

    def count(event: str, facts: tuple[object, ...]) -> None:
        nonlocal moments
        if event not in EVENTS or not str(facts[0]).startswith(output):
            return
        moments += 1
        if moments == kill_at:
            children = [child.pid for child in multiprocessing.active_children()]
            os.write(1, f"{children}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    code = cli.run(arguments)
    os.write(1, f"moments {moments}\n".encode())
    return code


if __name__ == "__main__":
    sys.exit(main())
