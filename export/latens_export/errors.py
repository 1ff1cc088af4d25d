"""What can go wrong in an export, as a person is told of it: one clear line and an exit code."""

from __future__ import annotations


class ExportError(Exception):
    """A failure whose message is one line that says what was being done."""

    exit_code = 1


class UsageError(ExportError):
    """A setting that is wrong, or that contradicts another."""

    exit_code = 2


class GraphError(ExportError):
    """A network that cannot be written as a graph."""

    exit_code = 5


class ParityError(ExportError):
    """A graph whose outputs differ too much from the network's."""

    exit_code = 5
