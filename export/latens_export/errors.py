"""The errors of an export: each is shown as one line and sets the exit code."""

from __future__ import annotations


class ExportError(Exception):
    """A failure whose message is one line that says what was being done."""

    exit_code = 1


class UsageError(ExportError):
    """A setting that is wrong, or that contradicts another."""

    exit_code = 2


class SourceError(ExportError):
    """What was to be exported cannot be read; the exit code says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class GraphError(ExportError):
    """A network that cannot be written as a graph."""

    exit_code = 5


class ParityError(ExportError):
    """A graph whose outputs differ too much from the network's."""

    exit_code = 5


class HalfRangeError(ExportError):
    """A network whose values float16 cannot hold."""

    exit_code = 5
