"""The command `latens`."""

from __future__ import annotations

import sys

_NEEDED = ("PIL", "rich", "typer")


def main() -> None:
    """Runs the command line; names the extra to install where a package is missing."""
    try:
        from latens.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in _NEEDED:
            raise
        print(
            f"latens: the command line needs {error.name}, which is not installed.\n"
            "Install it with:  pip install 'latens[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    run()
