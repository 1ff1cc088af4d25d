"""Failures that a user can put right, each with the exit code of the command."""

from __future__ import annotations

from typing import ClassVar

OK, FAILURE, USAGE, NOT_FOUND, UNAVAILABLE, BAD_DATA = 0, 1, 2, 3, 4, 5
INTERRUPTED, TERMINATED = 130, 143


class BulkError(Exception):
    """A failure whose message is one line for the user."""

    exit_code: ClassVar[int] = FAILURE


class NotFoundError(BulkError):
    """The input, the output or the model does not exist."""

    exit_code = NOT_FOUND


class UnavailableError(BulkError):
    """The server at `--address` cannot be reached."""

    exit_code = UNAVAILABLE


class BadDataError(BulkError):
    """The input cannot be encoded, or contradicts what the output holds already."""

    exit_code = BAD_DATA


class UsageError(BulkError):
    """Options that contradict each other or the model."""

    exit_code = USAGE
