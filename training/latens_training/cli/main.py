"""`latens-train`: parses the command line, runs the command, turns errors into exit codes."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from latens_training.cli.commands import COMMANDS, DEFAULT, find, listing
from latens_training.cli.parser import parse
from latens_training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `latens-train` with the arguments (default: the process's); returns the exit code."""
    try:
        name, rest = find(sys.argv[1:] if arguments is None else arguments)
        command = COMMANDS[name]
        program, epilog = (
            ("latens-train", listing()) if name == DEFAULT else (f"latens-train {name}", "")
        )
        return command.run(parse(command.settings_for(rest), rest, program, epilog))
    except TrainingError as error:
        print(f"latens-train: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def program() -> int:
    """`latens-train` as a process of its own, which may be one of several."""
    exit_code = main()
    if "WORLD_SIZE" not in os.environ:
        return exit_code
    from latens_training.devices import leave  # it imports torch

    return leave(exit_code)
