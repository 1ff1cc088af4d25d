"""`latens-train`: finds the verb, runs it, and turns failures into one line and an exit code."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from latens_training.cli.verbs import resolve
from latens_training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `latens-train` with the arguments (default: the process's); the exit code."""
    try:
        run, rest = resolve(sys.argv[1:] if arguments is None else arguments)
        return run(rest)
    except TrainingError as error:
        print(f"latens-train: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stderr.close()
        return 1
